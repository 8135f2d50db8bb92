"""One event loop per thread that runs async jobs, kept open between them so that clients can be reused.

Green threads (gevent, eventlet) are one thread to asyncio, in which one loop can run at a time. They share a loop,
which runs in its own green thread (`laraq.process.green`).
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from laraq.process import green

T = TypeVar("T")


class _Here(threading.local):
    runner: asyncio.Runner | None = None
    pid: int = 0
    task: asyncio.Task[Any] | None = None
    reason: BaseException | None = None


_here = _Here()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, with the caller's context variables.

    If a loop already runs here (a sync method inside async code), it runs in a separate thread.
    """
    if green.is_green():
        return green.run(coroutine)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_here(coroutine)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="laraq-async") as thread:
        return thread.submit(context.run, _run_once, coroutine).result()


def interrupt(error: BaseException) -> bool:
    """Cancel the coroutine that runs in this thread and let `run` raise `error`; False if none runs.

    Safe in a signal handler: the coroutine gets CancelledError at its next await.
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
