"""Expiring: a dict whose entries expire."""

from __future__ import annotations

from typing import Generic, TypeVar

from laraq.process import clock

V = TypeVar("V")

#: Fewest entries that are worth a search.
_FEW = 128


class Expiring(Generic[V]):
    """Holds at most about twice its live entries. Not safe for several threads: its owner locks.

    The clock is read each time, so tests that travel in time affect it.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[V, float]] = {}
        self._sweep_at = _FEW

    def get(self, key: str) -> tuple[V, float] | None:
        """The live value and the epoch seconds at which it ends, or None."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > clock.now() else None

    def put(self, key: str, value: V, ends_at: float) -> None:
        """Set the value, to live until that time."""
        self._entries[key] = (value, ends_at)
        if len(self._entries) > self._sweep_at:
            now = clock.now()
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
            self._sweep_at = max(2 * len(self._entries), _FEW)

    def pop(self, key: str) -> V | None:
        """Remove and return the value; None unless it was live."""
        entry = self.get(key)
        self._entries.pop(key, None)
        return None if entry is None else entry[0]
