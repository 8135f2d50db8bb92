"""presence(): the one Presence of this process on a broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from laraq.process.forks import new_lock
from laraq_kombu import Presence
from laraq_redis.broker.store import RedisQueues

#: Most seconds between two beats, in which what is owed is paid, too.
_SLOWEST_BEAT = 3600.0

_presences: dict[str, RedisPresence] = {}
_lock = new_lock()


class RedisPresence(Presence):
    """Its queues have a pool of connections of their own: what a worker holds outlives its channels."""

    def __init__(self, queues: RedisQueues, options: Mapping[str, Any]) -> None:
        max_lease = options.get("max_lease")
        super().__init__(
            queues,
            min(queues.retry_after / 3, _SLOWEST_BEAT),
            None if max_lease is None else float(max_lease),
            options.get("on_lease_lost"),
        )
        self.queues = queues


def presence(key: str, open_queues: Callable[[], RedisQueues], options: Mapping[str, Any]) -> RedisPresence:
    """The presence called `key`, made with what the first to ask hands in."""
    with _lock:
        found = _presences.get(key)
        if found is None:
            found = _presences[key] = RedisPresence(open_queues(), options)
        return found
