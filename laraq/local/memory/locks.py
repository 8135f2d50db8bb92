"""MemoryLocks: locks between the threads of one process."""

from __future__ import annotations

from laraq.local.memory.expiring import Expiring
from laraq.process import clock
from laraq.process.forks import new_lock


class MemoryLocks:
    """Leases in a dict: key to owner to the end of the lease. A forked child has its own copy."""

    def __init__(self) -> None:
        self._leases: Expiring[dict[str, float]] = Expiring()
        self._lock = new_lock()

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Acquire or extend the lease of `owner` to `seconds` from now; False when `slots` others hold the key."""
        with self._lock:
            leases = self._live(key)
            if owner not in leases and len(leases) >= slots:
                return False
            self._put(key, {**leases, owner: clock.now() + seconds})
            return True

    def release(self, key: str, owner: str) -> bool:
        """End the lease of `owner` on the key, and no other owner's; return whether it still held the key."""
        with self._lock:
            leases = self._live(key)
            held = leases.pop(owner, None) is not None
            self._put(key, leases)
            return held

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Extend the lease of `owner` to `seconds` from now if it still holds the key, not if it has expired."""
        with self._lock:
            leases = self._live(key)
            if owner not in leases:
                return False
            self._put(key, {**leases, owner: clock.now() + seconds})
            return True

    def owner(self, key: str) -> str | None:
        """The owner of the key now; of several owners the one whose lease ends last."""
        with self._lock:
            leases = self._live(key)
            return max(leases, key=leases.__getitem__, default=None)

    def force_release(self, key: str) -> bool:
        """End every lease on the key; return whether there was one."""
        with self._lock:
            return self._leases.pop(key) is not None

    def ends_in(self, key: str) -> float | None:
        """Seconds until the first lease on the key ends by itself; None when there is none."""
        with self._lock:
            return min((ends_at - clock.now() for ends_at in self._live(key).values()), default=None)

    def _live(self, key: str) -> dict[str, float]:
        leases, _ = self._leases.get(key) or ({}, 0.0)
        now = clock.now()
        return {owner: ends_at for owner, ends_at in leases.items() if ends_at > now}

    def _put(self, key: str, leases: dict[str, float]) -> None:
        if leases:
            self._leases.put(key, leases, max(leases.values()))
        else:
            self._leases.pop(key)
