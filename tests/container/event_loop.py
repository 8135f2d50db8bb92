"""Tests of async jobs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec

from laraq.container import Container

P = ParamSpec("P")


def in_event_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def run_job(
    kind: str, container: Container, handle: Callable[..., Any], extras: Mapping[Any, Any] | None = None
) -> Any:
    """A sync or an async job."""
    if kind == "sync":
        with container.scope(extras) as scope:
            return scope.call(handle)

    async def run() -> Any:
        async with container.scope(extras) as scope:
            return await scope.acall(handle)

    return asyncio.run(run())
