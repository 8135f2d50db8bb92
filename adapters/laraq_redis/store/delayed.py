"""RedisDelayed: messages that wait in a sorted set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from laraq.ports import DelayedMessage, Due
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors

#: Messages of one round trip: with bodies of a kilobyte, half a megabyte.
_PAGE = 500


class RedisDelayed:
    """Delayed messages in Redis: for each broker a sorted set by due time, a hash of messages, and counts by queue.

    A waiting message costs its own length and some 200 bytes. If the broker is in the same database, `move` moves
    messages atomically.
    """

    shared = True

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        #: The label of the store: names the server and its database.
        self.label = label
        self._brokers = f"{prefix}delayed"
        self._put = script.load(client, "delayed_put")
        self._take = script.load(client, "delayed_take")
        self._move = script.load(client, "delayed_move")

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all of the messages, each due in so many seconds; a page of them at a time."""
        with store_errors(self.label):
            for start in range(0, len(messages), _PAGE):
                arguments: list[Any] = [broker]
                for message, delay in messages[start : start + _PAGE]:
                    arguments += [message.id, round(delay * 1000), message.queue, _text(message)]
                self._put([*self._keys(broker), self._brokers], arguments)

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Return up to `limit` due messages and hide them from other callers for `seconds`; `forget` removes them."""
        with store_errors(self.label):
            # Nearly always nothing waits, which one command shows; the script calls five.
            if not self._client.exists(self._keys(broker)[0]):
                return Due([], None)
            wait, found = self._take(self._keys(broker), [limit, round(seconds * 1000)])
        return Due([_message(*pair) for pair in _pairs(found)], None if wait < 0 else wait / 1000)

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; return how many existed."""
        return self.move(broker, [(id, ()) for id in ids])

    def move(self, broker: str, moves: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> int:
        """Drop the messages and push texts to the left of lists of this database: (id, [(list, text), ...]), each
        atomically, and only if the message exists; return how many existed."""
        moved = 0
        with store_errors(self.label):
            for start in range(0, len(moves), _PAGE):
                lists: dict[str, int] = {}
                arguments: list[Any] = []
                for id, pushes in moves[start : start + _PAGE]:
                    arguments += [id, len(pushes)]
                    for name, text in pushes:
                        arguments += [lists.setdefault(name, len(lists) + 4), text]
                moved += int(self._move([*self._keys(broker), *lists], arguments))
        return moved

    def count(self, broker: str, queue: str) -> int:
        """The number of messages that wait for that queue."""
        with store_errors(self.label):
            number: Any = self._client.hget(self._keys(broker)[2], queue)
        return int(number or 0)

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next one first; reads those of the other queues as well."""
        with store_errors(self.label):
            return list(islice((each for each in self._next_first(broker) if each.queue == queue), limit))

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers with a message that has been due for longer than `seconds`."""
        with store_errors(self.label):
            brokers: Any = self._client.smembers(self._brokers)
            return [broker for broker in map(_decoded, brokers) if self._first_due_for(broker) > seconds]

    def _first_due_for(self, broker: str) -> float:
        first: Any = self._client.zrange(self._keys(broker)[0], 0, 0, withscores=True)
        now: Any = self._client.time()
        return now[0] + now[1] / 1e6 - first[0][1] / 1000 if first else 0.0

    def _next_first(self, broker: str) -> Iterator[DelayedMessage]:
        """Yield messages page by page; the ids are read at once, so that changes meanwhile shift nothing."""
        due, messages, _ = self._keys(broker)
        ids: Any = self._client.zrange(due, 0, -1)
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            found: Any = self._client.hmget(messages, page)
            yield from (_message(id, text) for id, text in zip(page, found, strict=True) if text is not None)

    def _keys(self, broker: str) -> list[str]:
        return [f"{self._brokers}:{part}:{broker}" for part in ("due", "messages", "queues")]


def _text(message: DelayedMessage) -> bytes:
    """The stored text, from which `delayed_move.lua` reads the queue."""
    queue = message.queue.encode()
    return b"%d:%s%s" % (len(queue), queue, message.body.encode())


def _message(id: Any, text: Any) -> DelayedMessage:
    length, _, rest = (text if isinstance(text, bytes) else text.encode()).partition(b":")
    return DelayedMessage(_decoded(id), rest[: int(length)].decode(), rest[int(length) :].decode())


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _decoded(text: Any) -> str:
    return text.decode() if isinstance(text, bytes) else str(text)
