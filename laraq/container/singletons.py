"""Singletons: instances kept between jobs. svcs has none, and does not handle threads and forks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

T = TypeVar("T")


class _Nothing:
    """Stands for a missing instance, as None may be an instance."""


NOTHING: Final = _Nothing()

#: The turn this thread or task makes singletons under. Code that a factory starts inherits it.
_turn: ContextVar[object] = ContextVar("laraq_singletons", default=None)


def finish(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
    raise RuntimeError("A sync job waited for an event loop while its parameters were made.")


class Singletons:
    """One instance per process; for async factories, and objects built from theirs, one per event loop."""

    def __init__(self) -> None:
        # By process and event loop: the instances, and what leaves them. A child of a fork makes its own, and holds on
        # to those of its parent: a generator that is collected would close the parent's connection.
        self._kept: dict[tuple[int, Any], tuple[dict[Any, Any], AsyncExitStack]] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._holder: object = None

    def find(self, recipe: Any, loop: Any) -> tuple[Any, bool]:
        """The instance or NOTHING, and whether it belongs to the event loop."""
        for place in (None, loop):
            if (kept := self._kept.get((os.getpid(), place))) and recipe in kept[0]:
                return kept[0][recipe], place is not None
        return NOTHING, False

    def keep(self, recipe: Any, made: Any, exits: AsyncExitStack, loop: Any) -> None:
        """Keep an instance, and its parts open, until `close`; called inside `alone`."""
        if (place := (os.getpid(), loop)) not in self._kept:
            # Nothing can be left any more in a loop that is closed.
            self._kept = {at: kept for at, kept in self._kept.items() if at[1] is None or not at[1].is_closed()}
            self._kept[place] = ({}, AsyncExitStack())
        instances, all_exits = self._kept[place]
        instances[recipe] = made
        all_exits.push_async_exit(exits)

    @asynccontextmanager
    async def alone(self, is_async: bool) -> AsyncIterator[None]:
        """Let one thread or coroutine at a time create singletons; a factory that runs a job may enter again."""
        if self._holder is not None and _turn.get() is self._holder:
            yield
            return
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        while not lock.acquire(blocking=not is_async):  # noqa: ASYNC110 - locks of asyncio do not work across threads
            await asyncio.sleep(0.001)
        token = _turn.set(turn := object())
        self._holder = turn
        try:
            yield
        finally:
            self._holder = None
            _turn.reset(token)
            lock.release()

    async def aclose(self, loop: Any) -> None:
        """Exit the context managers of the event loop, then of the process, in reverse order."""
        async with AsyncExitStack() as both:
            for place in (None, loop):
                if kept := self._kept.pop((os.getpid(), place), None):
                    both.push_async_exit(kept[1])
