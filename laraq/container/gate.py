"""Gate: lets one builder of singletons in at a time, be it a thread or a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeAlias

_Turn: TypeAlias = "Future[None]"

#: The turn this thread or task builds under. Code that a factory starts inherits it, or would wait for itself.
_held: ContextVar[tuple[Gate, _Turn] | None] = ContextVar("laraq_gate", default=None)


class Gate:
    """First come, first served. A lock of `threading` would block the event loop, one of `asyncio` knows no threads."""

    __slots__ = ("_lock", "_turns")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The first of them is in; a turn is done when its holder may enter.
        self._turns: deque[_Turn] = deque()

    @asynccontextmanager
    async def turn(self, is_async: bool) -> AsyncIterator[None]:
        """Wait to be let in. When `is_async` is False it blocks the thread and never waits for an event loop."""
        if self._is_held_here():
            yield
            return
        turn: _Turn = Future()
        turn.set_running_or_notify_cancel()  # a cancelled waiter must not cancel the turn itself
        try:
            with self._lock:
                self._turns.append(turn)
                self._let_in()
            await asyncio.wrap_future(turn) if is_async else turn.result()
            token = _held.set((self, turn))
            try:
                yield
            finally:
                _held.reset(token)
        finally:
            with self._lock:
                if turn in self._turns:
                    self._turns.remove(turn)
                self._let_in()

    def _is_held_here(self) -> bool:
        held = _held.get()
        if held is None or held[0] is not self:
            return False
        with self._lock:
            return held[1] in self._turns

    def _let_in(self) -> None:
        if self._turns and not self._turns[0].done():
            self._turns[0].set_result(None)
