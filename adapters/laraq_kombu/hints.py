"""HintThrottle: a producer need not tell idle workers about every single job."""

from __future__ import annotations

from collections.abc import Iterable

#: Seconds after a hint about a queue in which the same producer sends no further one about it.
HINT_INTERVAL = 0.02

#: Seconds after a hint at which a worker looks once more, for the jobs that came without one.
HINT_WINDOW = 0.03

#: Queues to remember before old ones are forgotten.
_MANY = 500


class HintThrottle:
    """Lets through one hint per queue and `HINT_INTERVAL`.

    The left out ones are never sent later, which would need a timer in the producer: whoever hears a hint
    looks again after `HINT_WINDOW`, when everything committed without one is visible. The window is longer
    than the interval by what a commit may take to show.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def due(self, queues: Iterable[str], now: float) -> list[str]:
        """Those of the queues to send a hint for, once each."""
        due = [queue for queue in dict.fromkeys(queues) if now - self._last.get(queue, -1.0) >= HINT_INTERVAL]
        for queue in due:
            self._last[queue] = now
        if len(self._last) > _MANY:  # reply queues have a name of their own each
            self._last = {queue: at for queue, at in self._last.items() if now - at < HINT_INTERVAL}
        return due

    def __len__(self) -> int:
        return len(self._last)
