"""Middleware that workers find by name, for the tests of `through`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from laraq import Job

log: list[Any] = []


@dataclass
class Named:
    name: str
    waits: timedelta = timedelta(0)
    tags: list[str] = field(default_factory=list)

    def handle(self, job: Any, next: Any) -> Any:
        log.append((self.name, self.waits, self.tags))
        return next(job)


@dataclass
class Guarded:
    token: SecretStr

    def handle(self, job: Any, next: Any) -> Any:
        return next(job)


class Plain:
    def __init__(self, name: str, **more: Any) -> None:
        self.name = name
        self.more = more

    def handle(self, job: Any, next: Any) -> Any:
        log.append((self.name, self.more))
        return next(job)


class Connected:
    """Holds what cannot travel, and says what does."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.socket = object()

    def to_payload(self) -> dict[str, str]:
        return {"host": self.host}

    @classmethod
    def from_payload(cls, data: dict[str, str]) -> Connected:
        return cls(data["host"])

    def handle(self, job: Any, next: Any) -> Any:
        log.append(self.host)
        return next(job)


class Slotted:
    __slots__ = ("name",)

    def handle(self, job: Any, next: Any) -> Any:
        return next(job)


class Greets(Job):
    encrypted_name: str = ""

    tries = 100

    def middleware(self) -> list[Any]:
        return [Plain("own")]

    def handle(self) -> str:
        log.append("handle")
        return "ran"


class Sensitive(Job):
    encrypted = True

    def handle(self) -> str:
        return "ran"


def function(job: Any, next: Any) -> Any:
    return next(job)
