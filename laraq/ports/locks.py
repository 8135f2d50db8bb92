"""Locks. Their seconds are counted by the store's clock, to the millisecond, never by the worker's."""

from __future__ import annotations

from typing import Protocol


class Locks(Protocol):
    """Leases on names. Every lease expires, so a killed owner blocks others only until then."""

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Acquire or extend the lease of `owner` to `seconds` from now; False when `slots` others hold the key."""

    def release(self, key: str, owner: str) -> bool:
        """End the lease of `owner` on the key, and no other owner's; return whether it still held the key."""

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Extend the lease of `owner` to `seconds` from now if it still holds the key, not if it has expired."""

    def owner(self, key: str) -> str | None:
        """The owner of the key now; of several owners the one whose lease ends last."""

    def force_release(self, key: str) -> bool:
        """End every lease on the key; return whether there was one."""
