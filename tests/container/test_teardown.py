from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from laraq.container import Container
from tests.container.event_loop import run_job
from tests.container.shop import Clock, Order, Recorder, User

both_kinds = pytest.mark.parametrize("kind", ["sync", "async"])


def uses(order: Order, user: User) -> None: ...


def fails(order: Order, user: User) -> None:
    raise ValueError("job")


@both_kinds
def test_factories_are_left_in_reverse_order(container: Container, recorder: Recorder, kind: str) -> None:
    container.bind(Order, recorder.factory("Order"))
    container.bind(User, lambda: recorder.opened("User"))

    run_job(kind, container, uses)

    assert recorder.log == ["+Order", "+User", "-User", "-Order"]


@both_kinds
def test_what_is_made_of_something_is_left_before_it(container: Container, recorder: Recorder, kind: str) -> None:
    def of_clock(clock: Clock) -> Iterator[str]:
        with recorder.opened("User") as value:
            yield value

    container.bind(User, of_clock)
    container.bind(Clock, recorder.factory("Clock"))

    run_job(kind, container, uses)

    assert recorder.log == ["+Clock", "+User", "-User", "-Clock"]


@pytest.mark.parametrize(("kind", "factory"), [("sync", "factory"), ("async", "factory"), ("async", "async_factory")])
def test_every_factory_sees_the_exception_of_the_job(
    container: Container, recorder: Recorder, kind: str, factory: str
) -> None:
    container.bind(Order, getattr(recorder, factory)("Order"))
    container.bind(User, lambda: recorder.opened("User"))

    with pytest.raises(ValueError, match="job"):
        run_job(kind, container, fails)

    assert recorder.log == ["+Order", "+User", "!User ValueError", "-User", "!Order ValueError", "-Order"]


def forgets_to_raise() -> Iterator[User]:
    with suppress(ValueError):
        yield User()


async def forgets_to_raise_async() -> AsyncIterator[User]:
    with suppress(ValueError):
        yield User()


@pytest.mark.parametrize(
    ("kind", "source"), [("sync", forgets_to_raise), ("async", forgets_to_raise), ("async", forgets_to_raise_async)]
)
def test_a_factory_cannot_hide_the_exception_of_the_job(
    container: Container, recorder: Recorder, kind: str, source: Any
) -> None:
    container.bind(Order, recorder.factory("Order"))
    container.bind(User, source)

    with pytest.raises(ValueError, match="job"):
        run_job(kind, container, fails)

    assert recorder.log == ["+Order", "!Order ValueError", "-Order"]


def fails_to_open() -> Iterator[User]:
    raise OSError("database")
    yield User()


def fails_to_commit() -> Iterator[User]:
    yield User()
    raise OSError("database")


@both_kinds
@pytest.mark.parametrize("source", [fails_to_open, fails_to_commit])
def test_a_factory_that_fails_fails_the_job_and_the_others_are_left(
    container: Container, recorder: Recorder, kind: str, source: Any
) -> None:
    container.bind(Order, recorder.factory("Order"))
    container.bind(User, source)

    with pytest.raises(OSError, match="database"):
        run_job(kind, container, uses)

    assert recorder.log == ["+Order", "!Order OSError", "-Order"]


def test_a_teardown_that_fails_after_the_job_keeps_the_error_of_the_job_as_its_context(container: Container) -> None:
    def fails_to_roll_back() -> Iterator[User]:
        try:
            yield User()
        finally:
            raise OSError("rollback")

    container.bind(User, fails_to_roll_back)

    with pytest.raises(OSError, match="rollback") as failure:
        run_job("sync", container, fails)

    assert isinstance(failure.value.__context__, ValueError)
