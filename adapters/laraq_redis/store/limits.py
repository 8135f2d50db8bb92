"""RedisLimits: counts of aligned windows in hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laraq.ports import Demand, Grant, Usage
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors


class RedisLimits:
    """Limits in Redis, one round trip for any number of them.

    Not the strategies of the library `limits`: its `hit` takes from one limit at a time, so a refusal by the second has
    already used the first; and its fixed windows start at the first hit, so two full ones can meet. A take that
    redis-py sends twice, because the first reply was lost, may use its cost twice, but never admits more.
    """

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._prefix = f"{prefix}limit:"
        self._take = script.load(client, "even_when_full", "take")
        self._usage = script.load(client, "usage")

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically; no window ever exceeds its maximum."""
        keys = [self._prefix + demand.key for demand in demands]
        arguments = [each for demand in demands for each in (demand.maximum, demand.milliseconds, demand.cost)]
        with store_errors(self._label):
            answer: Any = self._take(keys, arguments)
        granted, wait, *remaining = answer
        return Grant(bool(granted), wait / 1000, tuple(remaining))

    def usage(self, key: str) -> Usage:
        """What was taken in the current window; nothing, ending in 0 s, when there is none."""
        with store_errors(self._label):
            answer: Any = self._usage([self._prefix + key])
        used, left = answer
        return Usage(used, left / 1000)

    def clear(self, key: str) -> None:
        """Reset the count."""
        with store_errors(self._label):
            self._client.delete(self._prefix + key)
