"""What the tests inject."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar

from laraq.container import Container

T = TypeVar("T")


class Job:
    """Stands for the running job."""


class Mailer(Protocol):
    def send(self) -> str: ...


class Store(ABC):
    @abstractmethod
    def read(self) -> str: ...


class Smtp:
    def send(self) -> str:
        return "sent"


class Disk(Store):
    def read(self) -> str:
        return "read"


class Clock:
    pass


class User:
    pass


class Order:
    pass


class Service:
    def __init__(self, clock: Clock, mailer: Mailer, retries: int = 3) -> None:
        self.clock, self.mailer, self.retries = clock, mailer, retries


class Outer:
    def __init__(self, service: Service) -> None:
        self.service = service


class Chicken:
    def __init__(self, egg: Egg) -> None: ...


class Egg:
    def __init__(self, chicken: Chicken) -> None: ...


class NeedsDsn:
    def __init__(self, dsn: str) -> None: ...


class Untyped:
    def __init__(self, thing) -> None: ...  # type: ignore[no-untyped-def]


@dataclass
class Repo(Generic[T]):
    clock: Clock


class UnitOfWork:
    """A class that can be entered either way, and that its users enter themselves."""

    how = ""

    def __enter__(self) -> UnitOfWork:
        self.how += "sync"
        return self

    def __exit__(self, *error: object) -> None: ...

    async def __aenter__(self) -> UnitOfWork:
        self.how += "async"
        return self

    async def __aexit__(self, *error: object) -> None: ...


class AsyncClient:
    """Belongs to the event loop it was opened in."""

    closed = False

    async def __aenter__(self) -> AsyncClient:
        self.loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.closed = True


Dsn = NewType("Dsn", str)
Primary = Annotated[Clock, "primary"]


class Recorder:
    """Context managers that write down what happens to them."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @contextmanager
    def opened(self, name: str) -> Iterator[str]:
        self.log.append(f"+{name}")
        try:
            yield name
        except BaseException as error:
            self.log.append(f"!{name} {type(error).__name__}")
            raise
        finally:
            self.log.append(f"-{name}")

    def factory(self, name: str) -> Callable[[], Iterator[str]]:
        def generator() -> Iterator[str]:
            with self.opened(name) as value:
                yield value

        return generator

    def async_factory(self, name: str) -> Callable[[], AsyncIterator[str]]:
        async def generator() -> AsyncIterator[str]:
            with self.opened(name) as value:
                yield value

        return generator


def get(container: Container, key: Any) -> Any:
    """The instance a sync job gets."""
    with container.scope() as scope:
        return scope.get(key)


async def aget(container: Container, key: Any) -> Any:
    """The instance an async job gets."""
    async with container.scope() as scope:
        return await scope.aget(key)
