"""Messages on kombu's Redis transport: what `kombu.transport.redis: Channel._put` does, for many messages at once."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from kombu.connection import Connection
from kombu.transport import virtual

from laraq_celery.sending.encoding import encode, encode_plain
from laraq_celery.sending.message import Ready

if TYPE_CHECKING:
    from laraq_celery.sending.batches import Batch

#: Bytes of messages that wait at most, whatever their number.
SIZE = 4_000_000

#: kombu makes a client of redis-py, with its hundreds of callbacks, for each command.
_clients: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def are_behind(channel: Any) -> bool:
    """Whether messages are values of lists, and nobody changed how they get there: the stock transport, and one of ours
    (`put_due`), which keeps those that are not due elsewhere (`keeps_delayed`)."""
    transport = sys.modules.get("kombu.transport.redis")
    if transport is None or not isinstance(channel, transport.Channel):
        return False
    kind, stock = type(channel), transport.Channel
    return (
        (kind._put is stock._put or hasattr(kind, "keeps_delayed"))
        and kind._q_for_pri is stock._q_for_pri
        and kind._create_client is stock._create_client
        and kind.basic_publish is virtual.Channel.basic_publish
    )


def fits(channel: Any, ready: Ready) -> bool:
    """Whether the message just goes on a list: through no exchange, to no queue that each message keeps alive, and not
    after a while."""
    return (
        not ready.prebuilt.exchange
        and ready.prebuilt.routing_key not in getattr(channel, "_expires", ())
        and not is_delayed(channel, ready)
    )


def is_delayed(channel: Any, ready: Ready) -> bool:
    """Whether the channel keeps the message elsewhere until it is due."""
    return bool(ready.headers["eta"]) and getattr(channel, "keeps_delayed", False)


def push(channel: Any, ready: Ready) -> None:
    """Put one message on its list."""
    queue, priority, value = _entry(channel, ready)
    if hasattr(channel, "put_due"):
        channel.put_due({(queue, priority): [value]}, ready.properties["delivery_tag"])
    else:
        _client(channel).lpush(channel._q_for_pri(queue, priority), value)


class RedisLists:
    """Collects messages and puts each list's on it with one command, all lists in one round trip."""

    def __init__(self, connection: Connection, window: int, delayed: Batch | None = None) -> None:
        """`delayed` takes the messages that wait elsewhere until they are due."""
        self._taken = 0
        self._connection = connection
        self._channel: Any = connection.default_channel
        self._window = window
        self._delayed = delayed
        #: By queue and priority.
        self._lists: dict[tuple[str, int], list[bytes | str]] = {}
        self._waiting = self._size = 0

    @property
    def taken(self) -> int:
        """How many the broker is known to have."""
        return self._taken + (self._delayed.taken if self._delayed is not None else 0)

    def add(self, ready: Ready) -> None:
        """Collect it. Sent at once is what may fan out, and what has more done for it than to be put on a list."""
        if self._delayed is not None and is_delayed(self._channel, ready):
            self._delayed.add(ready)
            return
        ready.declare(self._connection, self._channel)
        if not fits(self._channel, ready):
            self._flush_lists()  # keep the order
            ready.publish(self._channel)
            self._taken += 1
            return
        queue, priority, value = _entry(self._channel, ready)
        self._lists.setdefault((queue, priority), []).append(value)
        self._waiting += 1
        self._size += len(value)
        if self._waiting >= self._window or self._size >= SIZE:
            self._flush_lists()

    def flush(self) -> None:
        """Put them on their lists. An error leaves open which of the lists were served: it is not tried again."""
        self._flush_lists()
        if self._delayed is not None:
            self._delayed.flush()

    def close(self) -> None:
        """Drop what is collected."""
        self._forget()
        if self._delayed is not None:
            self._delayed.close()

    def _flush_lists(self) -> None:
        if not self._lists:
            return
        if hasattr(self._channel, "put_due"):
            self._channel.put_due(self._lists)
        else:
            pipeline = _client(self._channel).pipeline(transaction=False)
            for (queue, priority), values in self._lists.items():
                pipeline.lpush(self._channel._q_for_pri(queue, priority), *values)
            pipeline.execute()
        self._taken += self._waiting
        self._forget()

    def _forget(self) -> None:
        self._lists = {}
        self._waiting = self._size = 0


def _entry(channel: Any, ready: Ready) -> tuple[str, int, bytes | str]:
    """The queue, the priority and the value."""
    queue = ready.prebuilt.routing_key
    message = ready.prepared(channel)
    channel._inplace_augment_message(message, "", queue)
    priority: int = channel._get_message_priority(message, reverse=False)
    return queue, priority, encode_plain(message) if ready.plain else encode(message)


def _client(channel: Any) -> Any:
    client = _clients.get(channel)
    if client is None or client.connection_pool is not channel.pool:  # another pool: after a fork
        client = _clients[channel] = channel._create_client()
    return client
