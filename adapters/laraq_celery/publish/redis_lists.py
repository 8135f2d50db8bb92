"""Messages on kombu's Redis transport: what `kombu.transport.redis: Channel._put` does, for many messages at once."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

from kombu.connection import Connection
from kombu.transport import virtual

from laraq_celery.publish.encoding import encode, encode_plain
from laraq_celery.publish.message import Ready

#: Bytes of messages that wait at most, whatever their number.
SIZE = 4_000_000

#: kombu makes a client of redis-py, with its hundreds of callbacks, for each command.
_clients: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def are_behind(channel: Any) -> bool:
    """Whether this is the stock transport: messages are values of lists, and nobody changed how they get there."""
    transport = sys.modules.get("kombu.transport.redis")
    if transport is None or not isinstance(channel, transport.Channel):
        return False
    kind, stock = type(channel), transport.Channel
    return (
        kind._put is stock._put
        and kind._q_for_pri is stock._q_for_pri
        and kind._create_client is stock._create_client
        and kind.basic_publish is virtual.Channel.basic_publish
    )


def fits(channel: Any, ready: Ready) -> bool:
    """Whether the message just goes on a list: through no exchange, and to no queue that each message keeps alive."""
    return not ready.prebuilt.exchange and ready.prebuilt.routing_key not in getattr(channel, "_expires", ())


def push(channel: Any, ready: Ready) -> None:
    """Put one message on its list."""
    key, value = _entry(channel, ready)
    _client(channel).lpush(key, value)


class RedisLists:
    """Collects messages and puts each list's on it with one command, all lists in one round trip."""

    def __init__(self, connection: Connection, window: int) -> None:
        self.taken = 0
        self._connection = connection
        self._channel = connection.default_channel
        self._window = window
        self._lists: dict[str, list[bytes | str]] = {}
        self._waiting = self._size = 0

    def add(self, ready: Ready) -> None:
        """Collect it. Sent at once is what may fan out, and what has more done for it than to be put on a list."""
        ready.declare(self._connection, self._channel)
        if not fits(self._channel, ready):
            self.flush()  # keep the order
            ready.publish(self._channel)
            self.taken += 1
            return
        key, value = _entry(self._channel, ready)
        self._lists.setdefault(key, []).append(value)
        self._waiting += 1
        self._size += len(value)
        if self._waiting >= self._window or self._size >= SIZE:
            self.flush()

    def flush(self) -> None:
        """Put them on their lists. An error leaves open which of the lists were served: it is not tried again."""
        if not self._lists:
            return
        pipeline = _client(self._channel).pipeline(transaction=False)
        for key, values in self._lists.items():
            pipeline.lpush(key, *values)
        pipeline.execute()
        self.taken += self._waiting
        self.close()

    def close(self) -> None:
        """Drop what is collected."""
        self._lists = {}
        self._waiting = self._size = 0


def _entry(channel: Any, ready: Ready) -> tuple[str, bytes | str]:
    """The list and the value."""
    queue = ready.prebuilt.routing_key
    message = ready.prepared(channel)
    channel._inplace_augment_message(message, "", queue)
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
    return key, encode_plain(message) if ready.plain else encode(message)


def _client(channel: Any) -> Any:
    client = _clients.get(channel)
    if client is None or client.connection_pool is not channel.pool:  # another pool: after a fork
        client = _clients[channel] = channel._create_client()
    return client
