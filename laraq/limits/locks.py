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
    """A named lock (Illuminate/Cache/Lock.php). It frees itself after its seconds, whatever its holder does.

    with lock("report", 60): ...                       # LockTimeoutError at once when another owner holds it
    with lock("report", 60, block=5): ...              # or after 5 s; the same as lock("report", 60).block(5)
    if (mine := lock("report", 60)).acquire(): ...     # until mine.release()
    lock("report", 60, owner=token).release()          # by another process, which was given mine.owner

    A block that runs longer than those seconds loses the lock to others: choose them generously, or call refresh().
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
        """`block`: seconds that a `with` waits for the lock. `owner`: the owner's name, instead of a new token."""
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
        """The owner name of the last acquisition; None before the first, unless the object was given an owner."""
        return self._owner

    def acquire(self) -> bool:
        """Acquire the lock if it is free.

        This fails even if this same object holds the lock, unless it was given an owner: that extends its lease.
        """
        token = self._token()
        return self._holds(token, self._try(token))

    def block(self, patience: Seconds) -> Self:
        """Acquire the lock, waiting up to `patience` seconds; raises LockTimeoutError. The result may open a `with`."""
        token = self._token()
        self._enter(token, options.seconds(patience))
        return self._held(token)

    def release(self) -> bool:
        """Release the lock if `owner` still holds it; return whether it did."""
        return self._owner is not None and self._leave(self._owner)

    def refresh(self, seconds: Seconds | None = None) -> bool:
        """Extend the lease to that long from now (default: the lock's seconds); False when it is already lost."""
        length = self.seconds if seconds is None else options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"Lock {self.key!r} for {seconds!r} seconds: a lock needs a positive duration.")
        return self._owner is not None and self._store.locks.refresh(self.key, self._owner, length)

    def force_release(self) -> bool:
        """Release the lock whoever owns it; return whether it was held."""
        return self._store.locks.force_release(self.key)

    def is_locked(self) -> bool:
        """Whether the lock is held now."""
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
        """A copy whose next `with` uses the lease just acquired. This object must not, as others may share it."""
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
