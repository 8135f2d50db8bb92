"""Levels: the priorities in use in each queue, as last seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

#: Seconds for which the priorities seen in a queue are cached while it provides jobs: a check costs a round trip, and
#: an empty queue is checked anyway.
BELIEVED = 0.25


class Levels:
    """A job of a priority not seen before overtakes waiting jobs after at most `BELIEVED` seconds."""

    def __init__(self) -> None:
        self._known: dict[str, list[int]] = {}
        self._until: dict[str, float] = {}

    def stale(self, queues: Sequence[str]) -> bool:
        """Whether to check again before relying on the `ranges` of these queues."""
        now = time.monotonic()
        return any(self._until.get(queue, now) <= now for queue in queues)

    def ranges(self, queues: Sequence[str]) -> list[tuple[str, int]]:
        """(queue, priority) pairs in which to look for jobs, most urgent first."""
        return [(queue, level) for queue in queues for level in self._known.get(queue, (0,))]

    def learn(self, queues: Sequence[str], seen: Iterable[tuple[str, int, int | None]]) -> float | None:
        """Record (queue, priority, milliseconds until the next job of that priority is due) for these queues; return
        the seconds until the next job of any is due."""
        found: dict[str, set[int]] = {queue: {0} for queue in queues}
        lefts = []
        for queue, priority, left in seen:
            found[queue].add(priority)
            if left is not None:
                lefts.append(left)
        self._known.update((queue, sorted(levels, reverse=True)) for queue, levels in found.items())
        self._until.update(dict.fromkeys(queues, time.monotonic() + BELIEVED))
        return max(min(lefts), 0) / 1000 if lefts else None
