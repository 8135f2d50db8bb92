"""Async jobs in green threads. For gevent stands what tells it: threads that Python's own function has not made."""

from __future__ import annotations

import _thread
import asyncio
import selectors
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from laraq.process import aio, green
from tests.support.waiting import wait_until

colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture
def green_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As monkey patching leaves `_thread` behind."""
    original = _thread.start_new_thread
    monkeypatch.setattr(_thread, "start_new_thread", lambda *args: original(*args))
    monkeypatch.setattr(green, "_shared", None)
    yield
    if green._shared is not None:
        loop: Any = green._shared[1]
        loop.call_soon_threadsafe(loop.stop)
        wait_until(loop.is_closed, message="the shared loop is closed")


async def loop_in_use() -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


def test_python_s_own_threads_are_not_green() -> None:
    assert not green.is_green()


@pytest.mark.usefixtures("green_threads")
def test_results_errors_and_context_come_through() -> None:
    async def read() -> str:
        await asyncio.sleep(0)
        return colour.get()

    async def breaks() -> None:
        raise ValueError("no")

    assert green.is_green()
    token = colour.set("red")
    assert aio.run(read()) == "red"
    colour.reset(token)
    assert aio.run(read()) == "none"
    with pytest.raises(ValueError, match="no"):
        aio.run(breaks())


@pytest.mark.usefixtures("green_threads")
def test_all_share_a_loop_and_run_side_by_side() -> None:
    loops: list[int] = []
    meeting: asyncio.Event | None = None

    async def meet() -> int:
        nonlocal meeting
        if meeting is None:
            meeting = asyncio.Event()
            await meeting.wait()
        meeting.set()
        return await loop_in_use()

    threads = [threading.Thread(target=lambda: loops.append(aio.run(meet()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(loops) == 4
    assert len(set(loops)) == 1


@pytest.mark.usefixtures("green_threads")
def test_a_sync_verb_inside_of_a_coroutine_runs_another_one_and_then_goes_on() -> None:
    async def innermost() -> int:
        return await loop_in_use()

    async def inner() -> list[int]:
        return [aio.run(innermost()), await loop_in_use()]

    async def outer() -> list[int]:
        before = asyncio.current_task()
        found = [*aio.run(inner()), await loop_in_use()]
        assert asyncio.current_task() is before
        return found

    assert len(set(aio.run(outer()))) == 3


@pytest.mark.usefixtures("green_threads")
def test_a_caller_that_is_thrown_out_cancels_its_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent raises its timeouts in the green thread that waits."""
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    schedule = asyncio.run_coroutine_threadsafe

    def thrown_out(coroutine: Any, loop: Any) -> Any:
        future = schedule(coroutine, loop)
        started = schedule(asyncio.sleep(0), loop)
        started.result(20)

        def result() -> None:
            raise TimeoutError

        monkeypatch.setattr(future, "result", result)
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", thrown_out)
    with pytest.raises(TimeoutError):
        aio.run(waits())
    assert ended.wait(20)


def test_while_a_loop_waits_others_of_the_same_thread_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A green thread that waits in `select` lets others have the thread of the system."""
    switched: list[int] = []

    def while_waiting(switch: Callable[[], object]) -> type[selectors.SelectSelector]:
        class Switching(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                if not switched:
                    switch()
                return super().select(timeout)

        return Switching

    def other() -> None:
        switched.append(0)
        switched.append(asyncio.run(loop_in_use()))

    monkeypatch.setattr(selectors, "DefaultSelector", while_waiting(other))
    loop = green._loop()
    try:
        mine = loop.run_until_complete(loop_in_use())
    finally:
        loop.close()
    assert mine == id(loop)
    assert len(switched) == 2
    assert switched[1] != mine
