"""lock(): one holder at a time, on all machines that share the store."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import Self
from uuid import uuid4

from laraq.errors import LockTimeoutError
from laraq.limits.guard import Guard
from laraq.messages import options
from laraq.messages.options import Seconds, Text
from laraq.ports import Store

#: Seconds between two tries (Illuminate/Cache/Lock.php).
PAUSE = 0.25


class Lock(Guard):
    """A named lock (Illuminate/Cache/Lock.php). It frees itself after its seconds, whatever becomes of the holder.

    with lock("report", 60): ...                       # LockTimeoutError at once when another holds it
    with lock("report", 60, block=5): ...              # or after 5 s; the same as lock("report", 60).block(5)
    if (mine := lock("report", 60)).acquire(): ...     # until mine.release()
    lock("report", 60, owner=token).release()          # by another process, which was told mine.owner

    A block that runs longer than those seconds loses the lock to others: choose them amply, or refresh() in between.
    """

    def __init__(
        self,
        key: Text,
        seconds: Seconds,
        *,
        block: Seconds = 0,
        owner: str | None = None,
        store: Store | None = None,
    ) -> None:
        """`block`: seconds that a `with` waits for the lock. `owner`: who holds it, in place of new tokens."""
        super().__init__(options.seconds(block), store)
        self.key = options.key_of(key)
        self.seconds = options.seconds(seconds)
        if not options.is_lease(self.seconds):
            raise ValueError(f"Lock {key!r} for {seconds!r} seconds: a lock needs a positive duration.")
        self._given_owner = owner
        self._owner = owner
        self._entered_before: str | None = None

    def __repr__(self) -> str:
        return f"<Lock {self.key!r}>"

    @property
    def owner(self) -> str | None:
        """What this object last acquired the lock as; None before it did, unless it was given an owner."""
        return self._owner

    def acquire(self) -> bool:
        """Take the lock if it is free.

        Refused even while this very object holds it, unless it was given an owner: that one extends its own lease.
        """
        token = self._token()
        return self._holds(token, self._try(token))

    def block(self, patience: Seconds) -> Self:
        """Take the lock, waiting up to `patience` seconds; raises LockTimeoutError. The result may open a `with`."""
        token = self._token()
        self._enter(token, options.seconds(patience))
        return self._held(token)

    def release(self) -> bool:
        """Free the lock if `owner` still holds it; say whether it did."""
        return self._owner is not None and self._leave(self._owner)

    def refresh(self, seconds: Seconds | None = None) -> bool:
        """Hold it for that long from now (its own seconds when not said); False when it is lost already."""
        length = self.seconds if seconds is None else options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"Lock {self.key!r} for {seconds!r} seconds: a lock needs a positive duration.")
        return self._owner is not None and self._store.locks.refresh(self.key, self._owner, length)

    def force_release(self) -> bool:
        """Free the lock whoever holds it; say whether anybody did."""
        return self._store.locks.force_release(self.key)

    def is_locked(self) -> bool:
        """Whether anybody holds it now."""
        return self._store.locks.owner(self.key) is not None

    async def aacquire(self) -> bool:
        """`acquire` for async code."""
        token = self._token()
        return self._holds(token, await self._atry(token))

    async def ablock(self, patience: Seconds) -> Self:
        """`block` for async code: `async with await lock("report", 60).ablock(5)`."""
        token = self._token()
        await self._aenter(token, options.seconds(patience))
        return self._held(token)

    async def arelease(self) -> bool:
        """`release` for async code."""
        return await asyncio.to_thread(self.release)

    async def arefresh(self, seconds: Seconds | None = None) -> bool:
        """`refresh` for async code."""
        return await asyncio.to_thread(self.refresh, seconds)

    def _holds(self, token: str, pause: float | None) -> bool:
        if pause is None:
            self._owner = token
        return pause is None

    def _held(self, token: str) -> Self:
        """An object whose next `with` goes in with the lease it has. This one, which others may share, must not."""
        self._owner = token
        held = copy(self)
        held._inside = []
        held._entered_before = token
        return held

    def _token(self) -> str:
        token, self._entered_before = self._entered_before, None
        return token or self._given_owner or uuid4().hex

    def _try(self, token: str) -> float | None:
        return None if self._store.locks.acquire(self.key, token, self.seconds) else PAUSE

    def _leave(self, token: str) -> bool:
        return self._store.locks.release(self.key, token)

    def _refusal(self, waited: float, pause: float) -> LockTimeoutError:
        return LockTimeoutError(self.key, waited)


def lock(
    key: Text, seconds: Seconds, *, block: Seconds = 0, owner: str | None = None, store: Store | None = None
) -> Lock:
    """The lock of that name in the current store, not acquired yet; see Lock."""
    return Lock(key, seconds, block=block, owner=owner, store=store)
