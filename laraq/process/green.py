"""Async jobs in green threads: where gevent or eventlet have replaced Python's threads.

All green threads are one thread to the system and to asyncio, which allows one running loop in each thread. So the
coroutines of all green threads run in one loop, in its own green thread: while one thread waits, the others go on, and
what a coroutine does without `await` happens in the thread whose sockets and connections the others also use.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import os
import selectors
import threading
from asyncio import events, tasks
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType
from typing import Any, TypeVar

from laraq.process.forks import new_lock

T = TypeVar("T")

#: The shared loop, with the process it belongs to.
_shared: tuple[int, asyncio.AbstractEventLoop] | None = None

_making = new_lock()

#: The green threads that run loops.
_serving: set[int] = set()


def is_green() -> bool:
    """Whether new threads are green: Python's own threads come from a function written in C."""
    return not isinstance(_thread.start_new_thread, BuiltinFunctionType)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, with the caller's context variables; other green threads go on meanwhile.

    Called inside a coroutine (a sync method inside async code), it runs in a separate loop.
    """
    if threading.get_ident() in _serving:
        with _stepped_out():
            return _run_aside(coroutine)
    # What it schedules inherits this context.
    future = asyncio.run_coroutine_threadsafe(coroutine, _shared_loop())
    try:
        return future.result()
    except BaseException:  # the coroutine's, or the caller's: the timeout of a green pool
        future.cancel()
        raise


def _shared_loop() -> asyncio.AbstractEventLoop:
    global _shared
    made = None
    with _making:
        if _shared is None or _shared[0] != os.getpid():
            made = _loop()
            _shared = (os.getpid(), made)
        loop = _shared[1]
    if made is not None:  # without the lock: the start of a green thread lets others go on
        _start(partial(_serve, made))
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _run_aside(coroutine: Coroutine[Any, Any, T]) -> T:
    context = contextvars.copy_context()
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=_loop) as runner:
                outcome.append((True, runner.run(coroutine, context=context)))
        except BaseException as error:
            outcome.append((False, error))

    _start(work).join()
    succeeded, what = outcome[0]
    if not succeeded:
        raise what
    result: T = what
    return result


def _start(function: Callable[[], object]) -> threading.Thread:
    def serve() -> None:
        thread = threading.get_ident()
        _serving.add(thread)
        try:
            function()
        finally:
            _serving.discard(thread)

    thread = threading.Thread(target=serve, name="laraq-async", daemon=True)
    thread.start()
    return thread


def _loop() -> asyncio.AbstractEventLoop:
    """A loop that is not the running one while it waits and other code has the thread."""
    waiting: Any = selectors.DefaultSelector

    class Selector(waiting):  # type: ignore[misc] # the class installed by their patch
        def select(self, timeout: float | None = None) -> Any:
            loop = events._get_running_loop()
            events._set_running_loop(None)
            try:
                return super().select(timeout)
            finally:
                events._set_running_loop(loop)

    return asyncio.SelectorEventLoop(Selector())


@contextmanager
def _stepped_out() -> Iterator[None]:
    """Inside a coroutine that waits without `await`: make neither its loop nor its task the running one."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    # Since Python 3.14 there is one current task per thread, before there was one per loop.
    swap: Any = getattr(tasks, "_swap_current_task", lambda _loop, _task: None)
    swap(loop, None)
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(loop)
        swap(loop, task)
