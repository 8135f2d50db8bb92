"""The pipeline: middleware around the handler, sync and async in any order.

Sync middleware blocks until the wrapped code is finished, also when that is async, so its `finally` runs at the end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

from laraq.jobs.verbs import shown
from laraq.messages.options import refusal
from laraq.process import aio

Handler: TypeAlias = Callable[[Any], Any]


def middleware_of(job: Any) -> list[Any]:
    """All middleware around the job, outermost first.

    Raises InvalidJobError, which says what to write instead.
    """
    own = job.middleware
    if not callable(own):
        raise refusal(job, f"middleware is {shown(own)}: expected a method, def middleware(self): return [...]")
    return [*job._through, *listed(job, own(), "middleware() is")]


def listed(job: Any, given: Any, what: str) -> list[Any]:
    """The given middleware as a list. Raises InvalidJobError, which says what to write instead."""
    if (why := unfit(given)) is not None:
        if job.encrypted:  # its arguments may be secret
            why = f"of type {type(given).__name__}: expected a list of objects with handle(job, next)"
        raise refusal(job, f"{what} {why}")
    return list(given)


def unfit(given: Any) -> str | None:
    """What is wrong with a value that should be a list of middleware, and what to write; None if it is valid."""
    if type(given) is list and not given:
        return None
    if given is None or isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return f"{shown(given)}: expected a list, {'[]' if given is None else f'[{shown(given)}]'}"
    if not isinstance(given, Sequence | Set):
        return None  # a generator is checked when it is used
    for one in given:
        if isinstance(one, type):
            return f"a list with the class {one.__name__}: expected an object, {one.__name__}(...)"
        if not callable(getattr(one, "handle", one)):
            return f"a list with {shown(one)}: middleware is an object with handle(job, next), or a function of these"
    return None


def send(job: Any, middleware: Sequence[Any], handler: Handler, *, asynchronous: bool) -> Any:
    """Run `handler(job)` inside the middleware, first = outermost.

    `asynchronous` says that the handler is a coroutine function. (Illuminate/Pipeline/Pipeline.php)
    """
    steps = [_step(one) for one in middleware]
    return _sync(steps, handler, asynchronous)(job)


def _step(middleware: Any) -> Callable[[Any, Handler], Any]:
    step: Callable[[Any, Handler], Any] = getattr(middleware, "handle", middleware)
    return step


def _is_async(step: Callable[[Any, Handler], Any]) -> bool:
    return inspect.iscoroutinefunction(step) or inspect.iscoroutinefunction(getattr(step, "__call__", None))  # noqa: B004 - an object with an async __call__


def _sync(steps: Sequence[Callable[[Any, Handler], Any]], handler: Handler, asynchronous: bool) -> Handler:
    """The steps outside of the first async step; from there on the event loop takes over."""
    if not steps:
        return (lambda job: aio.run(handler(job))) if asynchronous else handler
    first, rest = steps[0], steps[1:]
    if _is_async(first):
        inside = _async(steps, handler, asynchronous)
        return lambda job: aio.run(inside(job))
    return lambda job: first(job, _sync(rest, handler, asynchronous))


def _async(
    steps: Sequence[Callable[[Any, Handler], Any]], handler: Handler, asynchronous: bool
) -> Callable[[Any], Any]:
    """The steps on the event loop; a sync step there waits in a thread."""

    async def inside(job: Any) -> Any:
        if not steps:
            return await handler(job) if asynchronous else handler(job)
        first, rest = steps[0], _async(steps[1:], handler, asynchronous)
        if _is_async(first):
            return await first(job, rest)
        return await _in_thread(first, job, rest)

    return inside


async def _in_thread(step: Callable[[Any, Handler], Any], job: Any, rest: Callable[[Any], Any]) -> Any:
    """Run a sync step, whose `next` blocks, in a thread; on cancellation, cancel and await what it waits for."""
    loop = asyncio.get_running_loop()
    inner: list[asyncio.Task[Any]] = []

    async def watched(job: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        inner.append(task)
        return await rest(job)

    def wait(job: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(watched(job), loop).result()

    thread = asyncio.ensure_future(asyncio.to_thread(step, job, wait))
    try:
        result = await asyncio.shield(thread)
    except asyncio.CancelledError:
        for task in inner:
            task.cancel()
        await asyncio.gather(thread, *inner, return_exceptions=True)
        raise
    return await result if isinstance(result, Awaitable) else result
