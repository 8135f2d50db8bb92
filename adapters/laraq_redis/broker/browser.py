"""KeyBrowser: looks into the queues of the Redis broker; `channel.browser()` makes one."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias, cast

from kombu.utils import json as kombu_json

from laraq.messages.inspection import QueueState
from laraq_kombu import Job, drain, raw
from laraq_redis.broker.store import PAGE, RedisQueues
from laraq_redis.client.connection import store_errors

#: Keeps the books of jobs that are dropped when it returns.
Tell: TypeAlias = Callable[[Sequence[tuple[dict[str, Any], int, float | None]]], object]

#: The key under which lua/attempts.lua keeps the starts of a job that went back to its list.
ATTEMPTS = "laraq-attempts"


class KeyBrowser:
    """A queue that is worked on meanwhile may show a job twice, or skip one."""

    def __init__(self, queues: RedisQueues) -> None:
        self._queues = queues

    def size(self, queue: str) -> int:
        """Jobs in any state."""
        return self._queues.count(queue).total

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""
        return int(getattr(self._queues.count(queue), state))

    def messages(
        self, queue: str, state: QueueState, limit: int | None
    ) -> Iterator[tuple[dict[str, Any], int, float | None]]:
        """(message, reservations so far, None: when it was put is not kept), next one first."""
        keys = self._queues.keys.of(queue)
        with store_errors(self._queues.label):
            seconds, micros = self._queues.client.time()
            now = seconds * 1000 + micros // 1000
            match state:
                case QueueState.RESERVED:
                    found = self._kept(queue, keys.reserved, "-inf", "+inf")
                case QueueState.DELAYED:
                    found = self._kept(queue, keys.delayed, f"({now}", "+inf")
                case QueueState.PENDING:
                    found = chain(self._listed(queue), self._kept(queue, keys.delayed, "-inf", now))
            for payload, attempts in islice(found, limit):
                message = _message(payload)
                yield message, message.pop(ATTEMPTS, 0) or attempts, None

    def clear(self, queue: str) -> int:
        """Drop the jobs of every state, and tell nobody."""
        return self._queues.clear(queue)

    def drain(self, queue: str, tell: Tell) -> int:
        """Drop delayed and pending jobs after `tell` was told of them, and let workers keep what they have."""
        dropped = self._drain_delayed(queue, tell)
        with store_errors(self._queues.label):
            seconds, micros = self._queues.client.time()
            reserved = self._queues.keys.of(queue).reserved
            lost = int(self._queues.client.zcount(reserved, "-inf", seconds * 1000 + micros // 1000))
        # No more than there are: what is told may lead to callbacks, which come into the queue behind.
        most = self._queues.count(queue).pending + lost
        return dropped + drain(self._queues, queue, most, lambda jobs: tell([_taken(job) for job in jobs]))

    def _drain_delayed(self, queue: str, tell: Tell) -> int:
        """A page at a time is put off for as long as a lease, so that no worker starts what is being told."""
        keys, client, dropped = self._queues.keys.of(queue), self._queues.client, 0
        while True:
            with store_errors(self._queues.label):
                seconds, micros = client.time()
                now = seconds * 1000 + micros // 1000
                ids = cast("list[bytes]", client.zrangebyscore(keys.delayed, f"({now}", "+inf", start=0, num=PAGE))
                if not ids:
                    return dropped
                with client.pipeline(transaction=True) as pipe:
                    later = now + int(self._queues.retry_after * 1000)
                    pipe.zadd(keys.delayed, dict.fromkeys(ids, later), xx=True, gt=True)
                    pipe.hmget(keys.jobs, ids)
                    pipe.hmget(keys.state, ids)
                    _, payloads, states = pipe.execute()
            there = [
                (id, _message(payload), int(state.partition(b":")[0]))
                for id, payload, state in zip(ids, payloads, states, strict=True)
                if payload is not None and state is not None
            ]
            tell([(message, message.pop(ATTEMPTS, 0) or attempts, None) for _, message, attempts in there])
            gone = [id for id, _, _ in there]
            with store_errors(self._queues.label), client.pipeline(transaction=True) as pipe:
                pipe.zrem(keys.delayed, *ids)
                if gone:
                    pipe.hdel(keys.jobs, *gone)
                    pipe.hdel(keys.state, *gone)
                pipe.execute()
            dropped += len(gone)

    def _listed(self, queue: str) -> Iterator[tuple[bytes, int]]:
        for name in self._queues.keys.of(queue).lists:
            seen = 0
            while page := cast("list[bytes]", self._queues.client.lrange(name, -seen - PAGE, -seen - 1)):
                yield from ((payload, 0) for payload in reversed(page))
                seen += len(page)

    def _kept(self, queue: str, ids_in: str, first: int | str, last: int | str) -> Iterator[tuple[bytes, int]]:
        keys, client = self._queues.keys.of(queue), self._queues.client
        seen = 0
        while ids := cast("list[str]", client.zrangebyscore(ids_in, first, last, start=seen, num=PAGE)):
            payloads = cast("list[bytes | None]", client.hmget(keys.jobs, ids))
            states = cast("list[bytes | None]", client.hmget(keys.state, ids))
            for payload, state in zip(payloads, states, strict=True):
                if payload is not None and state is not None:  # neither acknowledged nor moved meanwhile
                    yield payload, int(state.partition(b":")[0])
            seen += len(ids)


def _taken(job: Job) -> tuple[dict[str, Any], int, float | None]:
    """This reservation is no start."""
    message = _message(raw(job.payload))
    message.pop(ATTEMPTS, 0)
    return message, job.lease.attempts - 1, None


def _message(payload: bytes) -> dict[str, Any]:
    """What is no message is shown as one without a name."""
    try:
        message = kombu_json.loads(payload)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
