"""Batches: how many messages go to the broker at once. One class for each way a broker offers."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any, Protocol

from kombu.connection import Connection

from laraq_celery.sending import confirms, redis_lists
from laraq_celery.sending.message import Ready

#: Messages that are on their way at most: what a batch keeps in memory, and what is in doubt when a connection is lost.
WINDOW = 1000


class Batch(Protocol):
    """Messages on their way to the broker."""

    @property
    def taken(self) -> int:
        """How many of them the broker is known to have."""

    def add(self, ready: Ready) -> None:
        """Send the message, now or with those that follow."""

    def flush(self) -> None:
        """When this returns, the broker has every message added."""

    def close(self) -> None:
        """Let go of what is held; messages that were not flushed are dropped."""


def open_batch(connection: Connection, retry_policy: dict[str, Any]) -> Batch:
    """The best way this broker has: many in one command, or confirmed together, or one by one."""
    channel = connection.default_channel
    if confirms.are_offered(channel):
        return confirms.Confirms(connection, WINDOW, retry_policy)
    if getattr(channel, "supports_batch_publish", True):
        collects = hasattr(channel, "create_publish_batch")
        if redis_lists.are_behind(channel):
            collected = collects and getattr(channel, "keeps_delayed", False)
            delayed = TransportBatch(connection, channel, WINDOW) if collected else None
            return redis_lists.RedisLists(connection, WINDOW, delayed)
        if collects:
            return TransportBatch(connection, channel, WINDOW)
    return OneByOne(connection, retry_policy)


def publish_one(connection: Connection, channel: Any, ready: Ready) -> None:
    """Send one message; errors are those of the transport, and nothing is tried again."""
    ready.declare(connection, channel)
    if redis_lists.are_behind(channel) and redis_lists.fits(channel, ready):
        redis_lists.push(channel, ready)
    else:
        ready.publish(channel)


class OneByOne:
    """For brokers that take one message at a time; each is tried again as Celery would."""

    def __init__(self, connection: Connection, retry_policy: dict[str, Any]) -> None:
        self.taken = 0
        self._connection = connection
        self._publish = connection.ensure(connection, self._publish_once, **retry_policy)

    def add(self, ready: Ready) -> None:
        """Send it."""
        self._publish(ready)
        self.taken += 1

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""

    def _publish_once(self, ready: Ready) -> None:
        publish_one(self._connection, self._connection.default_channel, ready)


class TransportBatch:
    """For transports that collect messages themselves: kombu's `create_publish_batch`."""

    def __init__(self, connection: Connection, channel: Any, window: int) -> None:
        self.taken = 0
        self._connection = connection
        self._channel = channel
        self._added = 0
        self._window = window
        # Its own limit is never reached: only what is flushed here is known to be taken.
        self._batch = channel.create_publish_batch(max_size=window + 1)

    def add(self, ready: Ready) -> None:
        """Collect it."""
        ready.declare(self._connection, self._channel)
        route = ready.prebuilt
        message = ready.prepared(self._channel)
        self._batch.publish(message, exchange=route.exchange, routing_key=route.routing_key)
        self._added += 1
        if self._added - self.taken >= self._window:
            self.flush()

    def flush(self) -> None:
        """Hand them over."""
        self._batch.flush()
        self.taken = self._added

    def close(self) -> None:
        """Drop what was not handed over."""
        self._batch.discard()
        self._batch.close()
