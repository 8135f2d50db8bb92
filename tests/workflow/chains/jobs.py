"""The jobs and callbacks that write into `log`."""

from __future__ import annotations

from typing import Any

from laraq import Job, job

log: list[Any] = []


def note(what: Any) -> None:
    """Pickled by name, so that a closure writes into this module's log and not into a copy."""
    log.append(what)


class Note(Job):
    n: int

    def handle(self) -> None:
        note(self.n)


class Breaks(Job):
    n: int = 0

    tries = 1

    def handle(self) -> None:
        note(f"break {self.n}")
        raise ValueError(f"no {self.n}")


class Quits(Note):
    """Decides about itself and then adds."""

    verb: str = ""
    tries = 2

    def handle(self) -> None:
        note(f"{self.verb} {self.n} {self.attempts}")
        self.append_to_chain(Note(100))
        if self.verb == "delete":
            self.delete()
        if self.verb == "release" and self.attempts == 1:
            self.release(5)
        if self.verb == "raise" and self.attempts == 1:
            raise ValueError("the first start")
        if self.verb == "fail":
            self.fail("enough")


@job
def noted(n: int) -> None:
    note(("function", n))


def by_name() -> None:
    note("by name")


def caught(error: BaseException) -> None:
    note(("caught", type(error).__name__, str(error)))
