"""throttle() and funnel(): limits on entries per window, and on entries at a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Self, TypeVar, overload

from laraq.errors import LimiterTimeoutError
from laraq.limits.guard import Guard
from laraq.messages import options
from laraq.messages.options import Seconds, Text
from laraq.ports import Demand, Store

T = TypeVar("T")
U = TypeVar("U")

#: Seconds to wait before giving up, unless `block` sets others (Illuminate/Redis/Limiters/*LimiterBuilder.php).
PATIENCE = 3.0
#: Seconds between two tries for a free slot (ConcurrencyLimiter.php).
PAUSE = 0.25


class Limiter(Guard):
    """The base of throttles and funnels: `block`, `then`, and `with`. Every modifier returns a changed copy."""

    def __init__(self, key: Text, store: Store | None) -> None:
        super().__init__(PATIENCE, store)
        self.key = options.key_of(key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}>"

    def block(self, patience: Seconds) -> Self:
        """Wait up to that many seconds for admission; 0 tries once."""
        return self._with(_patience=options.seconds(patience))

    @overload
    def then(self, ok: Callable[[], T], otherwise: None = None) -> T: ...
    @overload
    def then(self, ok: Callable[[], T], otherwise: Callable[[], U]) -> T | U: ...
    def then(self, ok: Callable[[], Any], otherwise: Callable[[], Any] | None = None) -> Any:
        """Call `ok` when admitted, else `otherwise`; without `otherwise`, raise LimiterTimeoutError."""
        if inspect.iscoroutinefunction(ok):
            raise TypeError(f"{ok!r} is async, and would run after {self!r} was left: await .athen(...) instead.")
        token = self._token()
        try:
            self._enter(token, self._patience)
        except LimiterTimeoutError:
            if otherwise is None:
                raise
            return otherwise()
        try:
            return ok()
        finally:
            self._exit(token)

    async def athen(self, ok: Callable[[], Awaitable[T]], otherwise: Callable[[], Awaitable[U]] | None = None) -> T | U:
        """`then` for async functions."""
        token = self._token()
        try:
            await self._aenter(token, self._patience)
        except LimiterTimeoutError:
            if otherwise is None:
                raise
            return await otherwise()
        try:
            return await ok()
        finally:
            await asyncio.to_thread(self._exit, token)

    def _with(self, **changes: Any) -> Self:
        changed = copy(self)
        changed._inside = []
        vars(changed).update(changes)
        return changed


class Throttle(Limiter):
    """Limits the entries per window (Illuminate/Redis/Limiters/DurationLimiter.php).

    throttle("api").allow(10).every(60).block(5).then(call, otherwise)
    with throttle("api").allow(10).every(60): ...

    The windows are those of `Limit`: fixed and aligned, where Laravel's start at the first entry.
    """

    def __init__(self, key: Text, store: Store | None) -> None:
        super().__init__(key, store)
        self._maximum = 1
        self._seconds = 1.0

    def allow(self, maximum: int) -> Self:
        """Set how many entries a window allows; the default is 1."""
        return self._with(_maximum=maximum)

    def every(self, seconds: Seconds) -> Self:
        """Set the length of a window; the default is 1 s."""
        length = options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"{self!r} needs windows longer than {seconds!r} seconds.")
        return self._with(_seconds=length)

    def _try(self, token: str) -> float | None:
        grant = self._store.limits.take([Demand(f"throttle:{self.key}", self._maximum, self._seconds)])
        return None if grant else grant.available_in

    def _may_hope(self, pause: float, left: float) -> bool:
        return pause <= left  # there is no use in waiting for a certain refusal

    def _leave(self, token: str) -> bool:
        return True  # an entry stays used

    def _refusal(self, waited: float, pause: float) -> LimiterTimeoutError:
        return LimiterTimeoutError(self.key, waited, available_in=pause)


class Funnel(Limiter):
    """Limits the entries at a time (Illuminate/Redis/Limiters/ConcurrencyLimiter.php).

    funnel("reports").limit(3).release_after(60).block(5).then(make_report, otherwise)
    with funnel("reports").limit(3): ...

    A slot frees itself after `release_after` seconds, whatever its holder does, so a block that runs longer allows
    one entry too many.
    """

    def __init__(self, key: Text, store: Store | None) -> None:
        super().__init__(key, store)
        self._slots = 1
        self._seconds = 60.0

    def limit(self, slots: int) -> Self:
        """Set how many entries are allowed at a time; the default is 1."""
        return self._with(_slots=slots)

    def release_after(self, seconds: Seconds) -> Self:
        """Set after how long a slot frees itself; the default is 60 s."""
        length = options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"{self!r} cannot free a slot after {seconds!r} seconds: expected a positive duration.")
        return self._with(_seconds=length)

    def _try(self, token: str) -> float | None:
        entered = self._store.locks.acquire(f"funnel:{self.key}", token, self._seconds, self._slots)
        return None if entered else PAUSE

    def _leave(self, token: str) -> bool:
        return self._store.locks.release(f"funnel:{self.key}", token)

    def _refusal(self, waited: float, pause: float) -> LimiterTimeoutError:
        return LimiterTimeoutError(self.key, waited)


def throttle(key: Text, *, store: Store | None = None) -> Throttle:
    """A throttle of that name in the current store; see Throttle."""
    return Throttle(key, store)


def funnel(key: Text, *, store: Store | None = None) -> Funnel:
    """A funnel of that name in the current store; see Funnel."""
    return Funnel(key, store)
