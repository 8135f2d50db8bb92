"""Locks. Their seconds are counted by the store's clock, to the millisecond, never by the worker's."""

from __future__ import annotations

from typing import Protocol


class Locks(Protocol):
    """Leases on names. Every lease ends by itself, so a killed holder blocks the others only that long."""

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Have `owner` hold the key until `seconds` from now, anew or still; False when `slots` others hold it."""

    def release(self, key: str, owner: str) -> bool:
        """Free the key if `owner` still holds it, and nobody else's lease; say whether it did."""

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Let `owner` hold the key until `seconds` from now if it still does; a lease that is over stays over."""

    def owner(self, key: str) -> str | None:
        """Who holds the key now; of several holders the one whose lease ends last."""

    def force_release(self, key: str) -> bool:
        """End every lease on the key; say whether there was one."""
