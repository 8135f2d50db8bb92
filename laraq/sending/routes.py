"""Routes: the queue and connection of classes that do not set their own, and renamed queues.

(Illuminate/Queue/QueueRoutes.php: lookup order class, parents, mixins.)
"""

from __future__ import annotations

from typing import Any


class Routes:
    """`Queue.route` and `Queue.forward` of one Laraq."""

    def __init__(self) -> None:
        self._routes: dict[type[Any], tuple[str | None, str | None]] = {}
        self._forwards: dict[str, str] = {}

    def add(self, cls: type[Any], *, queue: str | None = None, connection: str | None = None) -> None:
        """Send jobs of `cls`, its subclasses, or users of the mixin `cls` there."""
        self._routes[cls] = (queue, connection)

    def forward(self, old: str, new: str) -> None:
        """Send jobs for the queue `old` to the queue `new`."""
        self._forwards[old] = new

    def find(self, cls: type[Any]) -> tuple[str | None, str | None]:
        """Queue and connection of the nearest routed class, None where not set."""
        if self._routes:
            parents = [known for known in cls.__mro__ if hasattr(known, "job_name")]
            mixins = [known for known in cls.__mro__ if known not in parents]
            for known in (*parents, *mixins):
                if known in self._routes:
                    return self._routes[known]
        return (None, None)

    def forwarded(self, queue: str | None) -> str | None:
        """The queue's current name."""
        return self._forwards.get(queue, queue) if queue else queue
