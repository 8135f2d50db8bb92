from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from laraq.container import Container
from tests.container.event_loop import in_event_loop
from tests.container.shop import Clock, User, aget, get


class Slow:
    """A factory that ends when it is told to."""

    def __init__(self) -> None:
        self.made: list[Clock] = []
        self.started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Clock:
        self.started.set()
        assert self.may_end.wait(10)
        self.made.append(Clock())
        return self.made[-1]

    async def slowly(self) -> Clock:
        return await asyncio.to_thread(self)


def test_threads_that_ask_at_the_same_time_share_one_instance(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow)

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(get, container, Clock) for _ in range(8)]
        assert slow.started.wait(10)
        slow.may_end.set()
        instances = {id(future.result(10)) for future in asked}

    assert len(slow.made) == len(instances) == 1


@in_event_loop
async def test_coroutines_and_threads_that_ask_at_the_same_time_share_one_instance(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow)
    in_thread = asyncio.create_task(asyncio.to_thread(get, container, Clock))
    await asyncio.to_thread(slow.started.wait, 10)
    in_loop = [asyncio.create_task(aget(container, Clock)) for _ in range(3)]
    await asyncio.sleep(0)  # they wait now, and do not block the loop
    slow.may_end.set()

    assert len({id(clock) for clock in await asyncio.gather(in_thread, *in_loop)}) == 1


@in_event_loop
async def test_coroutines_share_what_an_async_factory_is_still_making(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow.slowly)
    asked = [asyncio.create_task(aget(container, Clock)) for _ in range(3)]
    await asyncio.to_thread(slow.started.wait, 10)
    slow.may_end.set()

    assert len({id(clock) for clock in await asyncio.gather(*asked)}) == len(slow.made) == 1


@in_event_loop
async def test_a_cancelled_builder_and_a_cancelled_waiter_let_the_next_one_in(container: Container) -> None:
    started = asyncio.Event()

    async def hangs_once() -> Clock:
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return Clock()

    container.singleton(Clock, hangs_once)
    builder, waiter, last = (asyncio.create_task(aget(container, Clock)) for _ in range(3))
    await started.wait()
    waiter.cancel()
    builder.cancel()

    assert isinstance(await asyncio.wait_for(last, 10), Clock)
    assert builder.cancelled()
    assert waiter.cancelled()


def test_a_factory_may_run_a_job_that_needs_another_singleton(container: Container) -> None:
    container.singleton(Clock)
    container.singleton(User, lambda: get(container, Clock))

    assert get(container, User) is get(container, Clock)
