"""Jobs that do what a test tells them."""

from __future__ import annotations

from typing import Any

from laraq import Job

#: What `Fails.failed` was called with.
calls: list[Any] = []


class Script(Job):
    """Does what it is told, in that order."""

    steps: list[str]

    def handle(self) -> str:
        for step in self.steps:
            match step.split():
                case ["release"]:
                    self.release()
                case ["release", delay]:
                    self.release(float(delay))
                case ["fail"]:
                    self.fail()
                case ["fail", reason]:
                    self.fail(reason)
                case ["delete"]:
                    self.delete()
                case ["raise"]:
                    raise ValueError("no")
        return "result"


class Patient(Script):
    tries = 3
    backoff = 7


class Fails(Job):
    n: int

    tags = ["a", "b"]

    def handle(self) -> None:
        self.n = 99
        raise ValueError("no")

    def failed(self, error: BaseException | None) -> None:
        calls.append((self.n, str(error), self.attempts, self.id))
