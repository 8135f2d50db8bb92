"""HintThrottle: a producer need not notify idle workers of every single job."""

from __future__ import annotations

from collections.abc import Iterable

#: Seconds after a hint about a queue in which the same producer sends no other hint about it.
HINT_INTERVAL = 0.02

#: Seconds after a hint at which a worker checks again, for jobs that came without a hint.
HINT_WINDOW = 0.03

#: Queues to remember before old ones are forgotten.
_MANY = 500


class HintThrottle:
    """Lets through one hint per queue and `HINT_INTERVAL`.

    Suppressed hints are not sent later, which would need a timer in the producer: a worker that receives a hint checks
    again after `HINT_WINDOW`, when all jobs committed without a hint are visible. The window is longer than the
    interval by the time that a commit may take to become visible.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def due(self, queues: Iterable[str], now: float) -> list[str]:
        """The queues to send a hint for, once each."""
        due = [queue for queue in dict.fromkeys(queues) if now - self._last.get(queue, -1.0) >= HINT_INTERVAL]
        for queue in due:
            self._last[queue] = now
        if len(self._last) > _MANY:  # each reply queue has its own name
            self._last = {queue: at for queue, at in self._last.items() if now - at < HINT_INTERVAL}
        return due

    def __len__(self) -> int:
        return len(self._last)
