"""Teardown: how context managers are entered for a scope, to be left in reverse order at its end.

Each of them sees the exception of the job, but none can hide it: a forgotten `raise` in a factory must not turn a
failed job into a finished one. An exception of its own is raised, as by nested `with` statements.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any


def enter(stack: ExitStack | AsyncExitStack, manager: AbstractContextManager[Any]) -> Any:
    """What the manager hands out; `stack` leaves it."""
    value = manager.__enter__()

    def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        manager.__exit__(kind, error, trace)

    stack.push(leave)
    return value


async def aenter(stack: AsyncExitStack, manager: AbstractAsyncContextManager[Any]) -> Any:
    """The same for an async manager."""
    value = await manager.__aenter__()

    async def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await manager.__aexit__(kind, error, trace)

    stack.push_async_exit(leave)
    return value
