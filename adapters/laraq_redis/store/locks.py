"""RedisLocks: leases in sorted sets."""

from __future__ import annotations

from math import ceil
from typing import Any

from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors


class RedisLocks:
    """Locks in Redis, one round trip each. No fencing: an owner whose lease is over is not stopped.

    A failover to a replica that missed the last write releases the missed lock (`WAIT` cannot rule that out either). A
    call that redis-py sends twice, because the first reply was lost, does no harm; a release then returns False.
    """

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._label = label
        self._prefix = f"{prefix}lock:"
        self._acquire = script.load(client, "acquire")
        self._release = script.load(client, "release")
        self._refresh = script.load(client, "refresh")
        self._owner = script.load(client, "owner")
        self._force_release = script.load(client, "force_release")

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Acquire or extend the lease of `owner` to `seconds` from now; False when `slots` others hold the key."""
        with store_errors(self._label):
            return bool(self._acquire([self._prefix + key], [owner, ceil(seconds * 1000), slots]))

    def release(self, key: str, owner: str) -> bool:
        """End the lease of `owner` on the key, and no other owner's; return whether it still held the key."""
        with store_errors(self._label):
            return bool(self._release([self._prefix + key], [owner]))

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Extend the lease of `owner` to `seconds` from now if it still holds the key, not if it has expired."""
        with store_errors(self._label):
            return bool(self._refresh([self._prefix + key], [owner, ceil(seconds * 1000)]))

    def owner(self, key: str) -> str | None:
        """The owner of the key now; of several owners the one whose lease ends last."""
        with store_errors(self._label):
            owner: Any = self._owner([self._prefix + key])
        return owner.decode() if isinstance(owner, bytes) else owner

    def force_release(self, key: str) -> bool:
        """End every lease on the key; return whether there was one."""
        with store_errors(self._label):
            return bool(self._force_release([self._prefix + key]))
