from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from laraq.jobs import pipeline

JOB = object()
colour: ContextVar[str] = ContextVar("colour", default="none")


class Sync:
    """Notes when it begins and when its `finally` runs."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def handle(self, job: Any, next: Callable[[Any], Any]) -> Any:
        self.log.append(f"{self.name} in")
        try:
            return next(job)
        finally:
            self.log.append(f"{self.name} out")


class Async(Sync):
    async def handle(self, job: Any, next: Callable[[Any], Any]) -> Any:
        self.log.append(f"{self.name} in")
        try:
            return await next(job)
        finally:
            self.log.append(f"{self.name} out")


def handler_of(log: list[str], *, asynchronous: bool, raises: bool = False) -> Callable[[Any], Any]:
    def handle(job: Any) -> str:
        assert job is JOB
        log.append("handle in")
        log.append("handle out")
        if raises:
            raise ValueError("no")
        return "result"

    async def ahandle(job: Any) -> str:
        assert job is JOB
        log.append("handle in")
        await asyncio.sleep(0.001)
        log.append("handle out")
        if raises:
            raise ValueError("no")
        return "result"

    return ahandle if asynchronous else handle


ORDERS = [kinds for length in range(4) for kinds in itertools.product([Sync, Async], repeat=length)]


def label(value: Any) -> str:
    return "-".join(kind.__name__ for kind in value) or "none" if isinstance(value, tuple) else ""


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync handler", "async handler"])
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("kinds", ORDERS, ids=label)
def test_every_order_of_sync_and_async_wraps_the_handler_to_its_end(
    kinds: tuple[type[Sync], ...], raises: bool, asynchronous: bool
) -> None:
    log: list[str] = []
    middleware = [kind(log, str(number)) for number, kind in enumerate(kinds)]
    handler = handler_of(log, asynchronous=asynchronous, raises=raises)
    if raises:
        with pytest.raises(ValueError, match="no"):
            pipeline.send(JOB, middleware, handler, asynchronous=asynchronous)
    else:
        assert pipeline.send(JOB, middleware, handler, asynchronous=asynchronous) == "result"
    inward = [f"{number} in" for number in range(len(kinds))]
    outward = [f"{number} out" for number in reversed(range(len(kinds)))]
    assert log == [*inward, "handle in", "handle out", *outward]


@pytest.mark.parametrize("kinds", ORDERS[1:], ids=label)
def test_a_middleware_may_change_the_result(kinds: tuple[type[Sync], ...]) -> None:
    def plus(kind: type[Sync]) -> Any:
        if kind is Async:

            async def aplus(job: Any, next: Any) -> Any:
                return await next(job) + 1

            return aplus
        return lambda job, next: next(job) + 1

    async def handle(job: Any) -> int:
        return 0

    assert pipeline.send(JOB, [plus(kind) for kind in kinds], handle, asynchronous=True) == len(kinds)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kinds", ORDERS, ids=label)
def test_a_middleware_that_does_not_call_on_ends_the_run(kinds: tuple[type[Sync], ...], asynchronous: bool) -> None:
    log: list[str] = []
    middleware = [*(kind(log, "x") for kind in kinds), lambda job, next: "stopped", Sync(log, "inside")]
    handler = handler_of(log, asynchronous=asynchronous)
    assert pipeline.send(JOB, middleware, handler, asynchronous=asynchronous) == "stopped"
    assert "handle in" not in log
    assert "inside in" not in log


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kinds", ORDERS, ids=label)
def test_a_context_variable_set_outside_is_seen_inside(kinds: tuple[type[Sync], ...], asynchronous: bool) -> None:
    def paint(job: Any, next: Any) -> Any:
        token = colour.set("red")
        try:
            return next(job)
        finally:
            colour.reset(token)

    async def ahandle(job: Any) -> str:
        await asyncio.sleep(0)
        return colour.get()

    middleware = [paint, *(kind([], "x") for kind in kinds)]
    handler = ahandle if asynchronous else lambda job: colour.get()
    assert pipeline.send(JOB, middleware, handler, asynchronous=asynchronous) == "red"
    assert colour.get() == "none"


def test_a_lock_held_by_a_sync_middleware_is_held_until_the_async_handler_ended() -> None:
    lock = threading.Lock()
    held = []

    def guard(job: Any, next: Any) -> Any:
        with lock:
            return next(job)

    async def handle(job: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            held.append(lock.locked())

    pipeline.send(JOB, [Async([], "x"), guard, Async([], "y")], handle, asynchronous=True)
    assert held == [True, True, True]
    assert not lock.locked()


def test_a_sync_middleware_inside_an_async_one_does_not_block_the_event_loop() -> None:
    ticked = threading.Event()

    async def beside(job: Any, next: Any) -> Any:
        asyncio.get_running_loop().call_soon(ticked.set)
        return await next(job)

    def waits(job: Any, next: Any) -> Any:
        return ticked.wait(10) and next(job)

    async def handle(job: Any) -> str:
        return "result"

    assert pipeline.send(JOB, [beside, waits], handle, asynchronous=True) == "result"


def test_an_object_with_an_async_call_is_a_middleware_and_is_awaited() -> None:
    class Calls:
        async def __call__(self, job: Any, next: Any) -> Any:
            return await next(job)

    async def handle(job: Any) -> str:
        return "result"

    assert pipeline.send(JOB, [Calls()], handle, asynchronous=True) == "result"


def test_a_middleware_may_call_on_twice() -> None:
    runs: list[Any] = []
    pipeline.send(JOB, [lambda job, next: (next(job), next(job))], runs.append, asynchronous=False)
    assert runs == [JOB, JOB]
