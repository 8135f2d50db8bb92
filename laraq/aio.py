"""One event loop per thread that runs async jobs, kept open between them so that clients can be reused.

Green threads (gevent, eventlet) share one loop, which has a real thread of its own: a coroutine of one goes on while others
run, and theirs may block without stopping it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from laraq import native

T = TypeVar("T")


class _Here(threading.local):
    runner: asyncio.Runner | None = None
    pid: int = 0
    task: asyncio.Task[Any] | None = None
    reason: BaseException | None = None


_here = _Here()

#: Of green threads: the loop they share, with the process it belongs to; and the real threads of such loops.
_shared: tuple[int, asyncio.AbstractEventLoop] | None = None
_loop_threads: set[int] = set()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, seeing the caller's context variables.

    Called where a loop already runs (a sync verb inside async code), it runs in a thread of its own.
    """
    if native.is_green():
        return _run_green(coroutine)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_here(coroutine)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="laraq-async") as thread:
        return thread.submit(context.run, _run_once, coroutine).result()


def interrupt(error: BaseException) -> bool:
    """Cancel the coroutine that runs in this thread and make `run` raise `error`; False when none runs.

    Safe in a signal handler: the coroutine sees CancelledError at its next await.
    """
    task = _here.task
    if task is None:
        return False
    _here.reason = error
    task.get_loop().call_soon_threadsafe(task.cancel)
    return True


def close() -> None:
    """Close this thread's loop; it opens again when needed."""
    runner, _here.runner = _here.runner, None
    if runner is not None and _here.pid == os.getpid():
        runner.close()


def _run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    if _here.runner is None or _here.pid != os.getpid():
        # A loop made before the fork belongs to the parent.
        _here.runner, _here.pid = asyncio.Runner(), os.getpid()
    try:
        return _here.runner.run(_watched(coroutine), context=contextvars.copy_context())
    except asyncio.CancelledError:
        if _here.reason is None:
            raise
        raise _here.reason from None
    finally:
        _here.task = _here.reason = None


def _run_once(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return _run_here(coroutine)
    finally:
        close()


async def _watched(coroutine: Coroutine[Any, Any, T]) -> T:
    _here.task = asyncio.current_task()
    return await coroutine


def _run_green(coroutine: Coroutine[Any, Any, T]) -> T:
    """In the loop they share, or called from inside of such a loop, which waits for it, in one of its own."""
    inside = native.this_thread() in _loop_threads
    loop = _new_loop() if inside else _shared_loop()
    over = native.Signal()
    try:
        # `call_soon_threadsafe` takes this context along.
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        future.add_done_callback(lambda _: over.give())
        try:
            over.wait()
        except BaseException:  # the timeout of a green pool, or its end
            if not future.cancel():
                over.wait()
            raise
        return future.result()
    finally:
        over.close()
        if inside:
            loop.call_soon_threadsafe(loop.stop)


def _shared_loop() -> asyncio.AbstractEventLoop:
    global _shared
    if _shared is None or _shared[0] != os.getpid():
        _shared = (os.getpid(), _new_loop())
    return _shared[1]


def _new_loop() -> asyncio.AbstractEventLoop:
    """A loop that runs in a real thread until it is stopped."""
    loop = asyncio.new_event_loop()

    def serve() -> None:
        thread = native.this_thread()
        _loop_threads.add(thread)
        try:
            with asyncio.Runner(loop_factory=lambda: loop):
                loop.run_forever()
        finally:
            _loop_threads.discard(thread)

    native.start(serve)
    return loop
