"""RedisBrowser: the lists and hashes that kombu's Redis transport keeps.

A queue is one list per priority step, written at the left and read at the right. Unacknowledged messages of workers are
in one hash for all queues. Redis has no delays: a message that is not due waits in a list like any other, then in a
worker, so distinguishing pending from delayed messages means reading the list.
"""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from kombu.utils.json import loads

from laraq.messages.inspection import QueueState
from laraq_celery.stock.browser import Found, Notify
from laraq_celery.stock.message import due_at
from laraq_celery.stock.redis_drain import drain

#: Messages read at once: about a megabyte, a short time for other clients of the server.
PAGE = 500

#: Matches a message with an ETA: quotes inside values are escaped, so only a key and its text can match.
_HAS_ETA = (b'"eta": "', b'"eta":"')


class RedisBrowser:
    """Uses kombu's channel and its client, whose private names `_size`, `_purge`, `_lookup` and `_q_for_pri` are tested
    with the kombu in use."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def size(self, queue: str) -> int:
        """The number of messages in the lists and in workers; reads only the latter."""
        return int(self._channel._size(queue)) + sum(1 for _ in self._unacknowledged(queue))

    def count(self, queue: str, state: QueueState) -> int:
        """Count messages. Reads the whole queue, except for reserved jobs, but decodes only messages with an ETA."""
        now = time.time()
        if state is QueueState.RESERVED:
            return sum(1 for _, message in self._unacknowledged(queue) if due_at(message) <= now)
        waiting = delayed = 0
        for raw in self._waiting(queue):
            waiting += 1
            if any(mark in raw for mark in _HAS_ETA):
                delayed += due_at(_message(raw)) > now
        if state is QueueState.PENDING:
            return waiting - delayed
        return delayed + sum(1 for _, message in self._unacknowledged(queue) if due_at(message) > now)

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """The messages, next first; delayed ones in the order of the lists, then those in workers."""
        return islice(self._messages(queue, state), limit)

    def clear(self, queue: str) -> int:
        """Drop all messages: lists first, so that a worker cannot take a counted one. kombu does not mind an
        acknowledgement of a message that is gone from the hash."""
        dropped = int(self._channel._purge(queue))
        with self._channel.conn_or_acquire() as client:
            for tag in [tag for tag, _ in self._unacknowledged(queue)]:
                dropped += int(client.hdel(self._channel.unacked_key, tag))
                client.zrem(self._channel.unacked_index_key, tag)
        return dropped

    def drain(self, queue: str, notify: Notify) -> int:
        """Drop the messages in the lists after `notify` was called with them; workers keep their reserved messages."""
        channel, prefix = self._channel, str(self._channel.global_keyprefix or "")
        unacked = [prefix + channel.unacked_key, prefix + channel.unacked_index_key]
        lists = [prefix + channel._q_for_pri(queue, step) for step in channel.priority_steps]
        # No more than there are now: notifications may lead to callbacks, which are added to the queue.
        ready = int(channel._size(queue))
        with channel.conn_or_acquire() as client:
            return drain(client, unacked, lists, queue, ready, lambda page: notify([_found(text) for text in page]))

    def _messages(self, queue: str, state: QueueState) -> Iterator[Found]:
        now = time.time()
        if state is not QueueState.RESERVED:
            for raw in self._waiting(queue):
                message = _message(raw)
                if (due_at(message) > now) == (state is QueueState.DELAYED):
                    yield message, 0, None
        if state is not QueueState.PENDING:
            for _, message in self._unacknowledged(queue):
                if (due_at(message) > now) == (state is QueueState.DELAYED):
                    yield message, int(state is QueueState.RESERVED), None

    def _waiting(self, queue: str) -> Iterator[bytes]:
        with self._channel.conn_or_acquire() as client:
            for step in self._channel.priority_steps:
                key = self._key(client, "LRANGE", self._channel._q_for_pri(queue, step))
                seen = 0
                while page := client.lrange(key, -seen - PAGE, -seen - 1):
                    yield from reversed(page)
                    seen += len(page)

    def _unacknowledged(self, queue: str) -> Iterator[tuple[Any, dict[str, Any]]]:
        """(tag, message) of the unacknowledged messages of a queue; a scan may return one twice."""
        queues: dict[tuple[str, str], Iterable[str]] = {}
        seen = set()
        with self._channel.conn_or_acquire() as client:
            key = self._key(client, "HSCAN", self._channel.unacked_key)
            for tag, entry in client.hscan_iter(key, count=PAGE):
                with suppress(ValueError, TypeError):  # not written by kombu
                    message, exchange, routing_key = loads(entry)
                    route = (exchange, routing_key)
                    if route not in queues:
                        queues[route] = self._channel._lookup(*route) or [routing_key]
                    if queue in queues[route] and tag not in seen:
                        seen.add(tag)
                        yield tag, message

    def _key(self, client: Any, command: str, key: str) -> str:
        """kombu's client adds `global_keyprefix` for the commands kombu itself uses."""
        prefix = str(self._channel.global_keyprefix or "")
        return key if command in getattr(client, "PREFIXED_SIMPLE_COMMANDS", ()) else prefix + key


def _found(raw: bytes) -> Found:
    message = _message(raw)
    headers = message.get("headers")
    return message, int(isinstance(headers, dict) and bool(headers.get("redelivered"))), None


def _message(raw: bytes) -> dict[str, Any]:
    """A message; one that kombu did not write is shown without a name."""
    with suppress(ValueError):
        message = loads(raw)
        if isinstance(message, dict):
            return message
    return {}
