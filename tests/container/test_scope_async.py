from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any

import pytest

from laraq.container import Container, Scope
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.event_loop import in_event_loop
from tests.container.shop import AsyncClient, Clock, Mailer, Order, Recorder, Several, Smtp, User

HERE = __name__
SHOP = shop.__name__


async def make_smtp_async() -> Smtp:
    return Smtp()


async def yield_smtp_async() -> AsyncIterator[Smtp]:
    yield Smtp()


@asynccontextmanager
async def open_smtp_async() -> AsyncIterator[Smtp]:
    yield Smtp()


async def make_open_smtp() -> Any:
    return open_smtp()


async def make_open_smtp_async() -> Any:
    return open_smtp_async()


def make_smtp() -> Smtp:
    return Smtp()


@contextmanager
def open_smtp() -> Iterator[Smtp]:
    yield Smtp()


def yield_smtp() -> Iterator[Smtp]:
    yield Smtp()


async def run_job(container: Container, handle: Callable[..., Any]) -> Any:
    async with container.scope() as scope:
        return await scope.acall(handle)


_ASYNC = [
    make_smtp_async,
    yield_smtp_async,
    open_smtp_async,
    make_open_smtp,
    make_open_smtp_async,
    lambda: make_smtp_async(),
]


@pytest.mark.parametrize("source", [*_ASYNC, make_smtp, yield_smtp, open_smtp, Smtp, Smtp()])
@in_event_loop
async def test_an_async_job_takes_from_async_and_sync_factories(container: Container, source: Any) -> None:
    container.bind(Mailer, source)

    async def handle(mailer: Mailer) -> Mailer:
        return mailer

    async with container.scope() as scope:
        assert isinstance(await scope.acall(handle), Smtp)
        assert await scope.aget(Mailer) is await scope.aget(Mailer)


@pytest.mark.parametrize("source", _ASYNC)
def test_a_sync_job_is_refused_what_is_async(container: Container, scope: Scope, source: Any) -> None:
    container.bind(Mailer, source)

    with pytest.raises(InjectionError, match=rf"Cannot make {SHOP}.Mailer for a sync job: {HERE}\.\S+ is async."):
        scope.get(Mailer)


def test_a_sync_job_is_refused_an_async_context_manager(container: Container, scope: Scope) -> None:
    container.bind(AsyncClient, lambda: AsyncClient())

    with pytest.raises(InjectionError, match="for a sync job"):
        scope.get(AsyncClient)


@in_event_loop
async def test_an_async_context_manager_is_entered_and_left(container: Container) -> None:
    container.bind(AsyncClient, lambda: AsyncClient())

    async with container.scope() as scope:
        client = await scope.aget(AsyncClient)
        assert (client.opened, client.closed) == (True, False)
    assert client.closed


@in_event_loop
async def test_sync_and_async_factories_are_left_in_one_order_and_see_the_exception(
    container: Container, recorder: Recorder
) -> None:
    container.bind(User, recorder.async_factory("User"))
    container.bind(Order, recorder.factory("Order"))
    container.bind(Clock, recorder.async_factory("Clock"))

    async def handle(user: User, order: Order, clock: Clock) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        await run_job(container, handle)

    left = ["!Clock ValueError", "-Clock", "!Order ValueError", "-Order", "!User ValueError", "-User"]
    assert recorder.log == ["+User", "+Order", "+Clock", *left]


@in_event_loop
async def test_an_async_factory_cannot_hide_the_exception_of_the_job(container: Container, recorder: Recorder) -> None:
    async def forgets_to_raise() -> AsyncIterator[Clock]:
        with suppress(ValueError):
            yield Clock()

    container.bind(User, recorder.factory("User"))
    container.bind(Clock, forgets_to_raise)

    async def handle(user: User, clock: Clock) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        await run_job(container, handle)

    assert recorder.log == ["+User", "!User ValueError", "-User"]


@in_event_loop
async def test_a_sync_function_may_be_called_in_an_async_scope(container: Container) -> None:
    container.bind(Clock, Recorder().async_factory("Clock"))

    assert await run_job(container, Several().with_optional) == "Clock"


@in_event_loop
async def test_each_kind_of_scope_has_its_own_verbs(container: Container) -> None:
    async with container.scope() as scope:
        with pytest.raises(InjectionError, match=r"opened for async code: use its aget\(\) and acall\(\)"):
            scope.get(Clock)
    with container.scope() as scope, pytest.raises(InjectionError, match=r"opened for sync code: use its get\(\)"):
        await scope.aget(Clock)


class Manager:
    """What a stranger's class may look like: it can be entered either way."""

    how = ""

    def __enter__(self) -> Manager:
        self.how = "sync"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Manager:
        self.how = "async"
        return self

    async def __aexit__(self, *error: object) -> None: ...


@in_event_loop
async def test_what_can_be_entered_either_way_is_entered_as_the_job_is(container: Container) -> None:
    container.bind(Manager, lambda: Manager())

    with container.scope() as scope:
        assert scope.get(Manager).how == "sync"
    async with container.scope() as scope:
        assert (await scope.aget(Manager)).how == "async"
