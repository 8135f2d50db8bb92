"""MemoryCache: a cache for the threads of one process."""

from __future__ import annotations

from laraq.local.memory.expiring import Expiring
from laraq.ports import Cached
from laraq.process import clock
from laraq.process.forks import new_lock


class MemoryCache:
    """Values in a dict. A forked child has its own copy."""

    def __init__(self) -> None:
        self._values: Expiring[str] = Expiring()
        self._lock = new_lock()

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""
        with self._lock:
            return self._get(key)

    def peek(self, key: str) -> str | None:
        """The live value without its end, or None."""
        found = self.get(key)
        return None if found is None else found.value

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value to live for `seconds`, replacing any other."""
        with self._lock:
            self._values.put(key, value, clock.now() + seconds)

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is live; of any number of racing calls exactly one returns True."""
        with self._lock:
            if self._values.get(key) is not None:
                return False
            self._values.put(key, value, clock.now() + seconds)
            return True

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count atomically; the first call lets it live for `seconds`, later calls keep that end."""
        with self._lock:
            value, ends_at = self._values.get(key) or ("0", clock.now() + seconds)
            value = str(int(value) + amount)
            self._values.put(key, value, ends_at)
            return Cached(value, ends_at - clock.now())

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop the value (only while it is still `value`, when given); return whether it existed."""
        with self._lock:
            entry = self._get(key)
            if entry is None or (value is not None and entry.value != value):
                return False
            self._values.pop(key)
            return True

    def _get(self, key: str) -> Cached | None:
        entry = self._values.get(key)
        return None if entry is None else Cached(entry[0], entry[1] - clock.now())
