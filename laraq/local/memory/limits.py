"""MemoryLimits: limits between the threads of one process."""

from __future__ import annotations

from collections.abc import Sequence

from laraq.local.memory.expiring import Expiring
from laraq.ports import Demand, Grant, Usage
from laraq.process import clock
from laraq.process.forks import new_lock


class MemoryLimits:
    """Counts in a dict, each with the end of its window. A forked child has its own copy.

    The library `limits` has fixed windows too, but it takes from one limit at a time, so a refusal by the second has
    already used the first; and its windows start at the first hit, so two full ones can meet.
    """

    def __init__(self) -> None:
        self._counts: Expiring[int] = Expiring()
        self._lock = new_lock()

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically; no window ever exceeds its maximum."""
        with self._lock:
            now = clock.now()
            windows = [self._counts.get(demand.key) or (0, window_end(now, demand.milliseconds)) for demand in demands]
            waits = [
                ends_at - now
                for demand, (used, ends_at) in zip(demands, windows, strict=True)
                if used + demand.cost > demand.maximum
            ]
            if not waits:
                windows = [
                    (used + demand.cost, ends_at) for demand, (used, ends_at) in zip(demands, windows, strict=True)
                ]
                for demand, (used, ends_at) in zip(demands, windows, strict=True):
                    self._counts.put(demand.key, used, ends_at)
            left = [max(demand.maximum - used, 0) for demand, (used, _) in zip(demands, windows, strict=True)]
            return Grant(not waits, max(waits, default=0.0), tuple(left))

    def usage(self, key: str) -> Usage:
        """What was taken in the current window; nothing, ending in 0 s, when there is none."""
        with self._lock:
            window = self._counts.get(key)
            return Usage(0, 0.0) if window is None else Usage(window[0], window[1] - clock.now())

    def clear(self, key: str) -> None:
        """Reset the count."""
        with self._lock:
            self._counts.pop(key)


def window_end(now: float, length: int) -> float:
    """Epoch seconds at which the aligned window of `length` milliseconds that contains `now` ends."""
    milliseconds = int(now * 1000)
    return (milliseconds - milliseconds % length + length) / 1000
