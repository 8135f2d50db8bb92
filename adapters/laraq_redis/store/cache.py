"""RedisCache: texts and counts as Redis strings."""

from __future__ import annotations

from math import ceil
from typing import Any

from laraq.ports import Cached
from laraq_redis.client import script
from laraq_redis.client.connection import Client, sized, store_errors


class RedisCache:
    """A cache in Redis, one round trip each.

    A call that redis-py sends twice, because the first reply was lost, may count twice, and `add` then returns False.
    """

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._prefix = f"{prefix}cache:"
        self._get = script.load(client, "get")
        self._increment = script.load(client, "increment")
        self._forget_value = script.load(client, "forget_value")

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""
        with store_errors(self._label):
            answer: Any = self._get([self._prefix + key])
        value, left = answer
        if value is None:
            return None
        return Cached(value.decode() if isinstance(value, bytes) else value, left / 1000)

    def peek(self, key: str) -> str | None:
        """The live value without its end, or None."""
        with store_errors(self._label):
            value: Any = self._client.get(self._prefix + key)
        return value.decode() if isinstance(value, bytes) else value

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value to live for `seconds`, replacing any other."""
        with store_errors(self._label), sized(self._client, [value]):
            self._client.set(self._prefix + key, value, px=ceil(seconds * 1000))

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is live; of any number of racing calls exactly one returns True."""
        with store_errors(self._label), sized(self._client, [value]):
            return bool(self._client.set(self._prefix + key, value, px=ceil(seconds * 1000), nx=True))

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count atomically; the first call lets it live for `seconds`, later calls keep that end."""
        with store_errors(self._label):
            answer: Any = self._increment([self._prefix + key], [amount, ceil(seconds * 1000)])
        count, left = answer
        return Cached(str(count), left / 1000)

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop the value (only while it is still `value`, when given); return whether it existed."""
        with store_errors(self._label):
            if value is None:
                return bool(self._client.delete(self._prefix + key))
            return bool(self._forget_value([self._prefix + key], [value]))
