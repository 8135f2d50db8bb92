"""What the tests inject."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar

from laraq.container import Container, Injected, injected

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
    """A class that its users enter themselves."""

    entered = 0

    def __enter__(self) -> UnitOfWork:
        self.entered += 1
        return self

    def __exit__(self, *error: object) -> None: ...


class AsyncClient:
    opened = closed = False

    async def __aenter__(self) -> AsyncClient:
        self.opened = True
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


class Several:
    """One method for each kind of parameter."""

    def with_default(self, clock: Clock | None = None) -> Any:
        return clock

    def with_optional(self, clock: Clock | None) -> Any:
        return clock

    def with_value(self, clock: Clock = Clock()) -> Any:  # noqa: B008 - the default is what a test looks for
        return clock

    def with_marker(self, clock: Injected[Clock] = injected()) -> Any:  # noqa: B008 - it is a marker, not a value
        return clock

    def with_marked_none(self, clock: Injected[Clock | None] = None) -> Any:
        return clock

    def with_positional(self, clock: Clock, /, other: Clock) -> Any:
        return clock if clock is other else None

    def with_rest(self, *args: Any, clock: Clock, **kwargs: Any) -> Any:
        assert (args, kwargs) == ((), {})
        return clock

    @staticmethod
    def with_static(clock: Clock) -> Any:
        return clock

    @classmethod
    def with_class(cls, clock: Clock) -> Any:
        return clock


def get(container: Container, key: Any) -> Any:
    """The instance a sync job gets."""
    with container.scope() as scope:
        return scope.get(key)


async def aget(container: Container, key: Any) -> Any:
    """The instance an async job gets."""
    async with container.scope() as scope:
        return await scope.aget(key)
