from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from laraq.process import aio

colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def closed_loop() -> Iterator[None]:
    yield
    aio.close()


async def loop_in_use() -> int:
    return id(asyncio.get_running_loop())


def test_a_result_comes_back() -> None:
    async def add() -> int:
        await asyncio.sleep(0)
        return 1 + 1

    assert aio.run(add()) == 2


def test_an_exception_comes_back() -> None:
    async def breaks() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        aio.run(breaks())


def test_the_loop_is_kept_so_that_clients_can_be_reused() -> None:
    assert aio.run(loop_in_use()) == aio.run(loop_in_use())


def test_every_thread_has_a_loop_of_its_own() -> None:
    found = []

    def work() -> None:
        found.append(aio.run(loop_in_use()))
        aio.close()

    mine = aio.run(loop_in_use())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] != mine


def test_a_closed_loop_opens_again() -> None:
    aio.run(loop_in_use())
    aio.close()
    aio.close()
    assert aio.run(asyncio.sleep(0, "again")) == "again"


def test_the_caller_s_context_variables_are_seen() -> None:
    async def read() -> str:
        return colour.get()

    token = colour.set("red")
    try:
        assert aio.run(read()) == "red"
    finally:
        colour.reset(token)
    assert aio.run(read()) == "none"


def test_inside_a_running_loop_it_runs_in_a_thread_with_the_same_context() -> None:
    async def read() -> tuple[str, int]:
        return colour.get(), threading.get_ident()

    async def outer() -> tuple[str, int]:
        colour.set("blue")
        return aio.run(read())

    seen, thread = asyncio.run(outer())
    assert seen == "blue"
    assert thread != threading.get_ident()


def test_a_forked_child_opens_a_loop_of_its_own() -> None:
    mine = aio.run(loop_in_use())
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, b"1" if aio.run(asyncio.sleep(0, True)) else b"0")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        assert answer.read() == b"1"
    assert aio.run(loop_in_use()) == mine


class StopError(Exception):
    pass


def test_an_interrupted_coroutine_runs_its_finally_and_the_caller_gets_the_reason() -> None:
    log = []

    async def waits() -> None:
        try:
            assert aio.interrupt(StopError("enough"))
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            log.append("finally")

    with pytest.raises(StopError, match="enough"):
        aio.run(waits())
    assert log == ["cancelled", "finally"]


def test_an_interruption_is_forgotten_afterwards() -> None:
    async def stopped() -> None:
        aio.interrupt(StopError())
        await asyncio.sleep(60)

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(StopError):
        aio.run(stopped())
    assert aio.run(asyncio.sleep(0, "fine")) == "fine"
    with pytest.raises(asyncio.CancelledError):
        aio.run(cancels_itself())


def test_there_is_nothing_to_interrupt_outside_of_a_run() -> None:
    assert not aio.interrupt(StopError())
    aio.run(asyncio.sleep(0))
    assert not aio.interrupt(StopError())


#: An async handler inside a sync middleware inside `outermost`, interrupted from a signal handler.
INTERRUPTED = """
import asyncio, signal, sys
from laraq.jobs import pipeline
from laraq.process import aio

class StopError(Exception):
    pass

def on_alarm(*_):
    aio.interrupt(StopError())

async def outermost(job, next):
    return await next(job)

def guard(job, next):
    try:
        return next(job)
    finally:
        print("guard ended", flush=True)

async def handle(job):
    try:
        await asyncio.sleep(20)
    finally:
        print("handle ended", flush=True)

signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    pipeline.send(object(), [outermost, guard][int(sys.argv[1]):], handle, asynchronous=True)
except StopError:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("first", [1, 0], ids=["sync outermost", "async outermost"])
def test_an_interrupted_handler_ends_before_the_middleware_around_it(first: int) -> None:
    """In a process of its own, because what is not interrupted hangs."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(first)], capture_output=True, text=True, timeout=10
        )
    except subprocess.TimeoutExpired as hung:
        pytest.fail(f"it hung after {hung.stdout!r}")
    assert ended.stdout.splitlines() == ["handle ended", "guard ended", "stopped"], ended.stderr


def test_many_threads_run_at_once() -> None:
    together = threading.Barrier(4, timeout=20)
    results: list[Any] = []

    def work(number: int) -> None:
        async def meet() -> int:
            await asyncio.to_thread(together.wait)
            return number

        results.append(aio.run(meet()))
        aio.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]
