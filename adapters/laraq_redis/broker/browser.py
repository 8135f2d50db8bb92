"""KeyBrowser: reads the queues of the Redis broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import cast

from laraq.messages.inspection import QueueState
from laraq_kombu.browser import Found, Kept, StoreBrowser
from laraq_redis.broker.store import PAGE, RedisQueues
from laraq_redis.client.connection import store_errors

#: The key under which lua/attempts.lua keeps the starts of a job that was released to its list.
ATTEMPTS = "laraq-attempts"


class KeyBrowser(StoreBrowser[RedisQueues, bytes]):
    """The browser of the Redis broker, which does not record when a job was put."""

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        keys = self._store.keys.of(queue)
        with store_errors(self._store.label):
            now = self._now()
            match state:
                case QueueState.RESERVED:
                    found = self._kept(queue, keys.reserved, "-inf", "+inf")
                case QueueState.DELAYED:
                    found = self._kept(queue, keys.delayed, f"({now}", "+inf")
                case QueueState.PENDING:
                    found = chain(self._listed(queue), self._kept(queue, keys.delayed, "-inf", now))
            for payload, attempts in islice(found, limit):
                yield self._found(payload, attempts)

    def clear(self, queue: str) -> int:
        return self._store.clear(queue)

    def _withhold(self, queue: str) -> Sequence[Kept[bytes]]:
        keys, client = self._store.keys.of(queue), self._store.client
        while True:
            with store_errors(self._store.label):
                now = self._now()
                ids = cast("list[bytes]", client.zrangebyscore(keys.delayed, f"({now}", "+inf", start=0, num=PAGE))
                if not ids:
                    return ()
                with client.pipeline(transaction=True) as pipe:
                    later = now + int(self._store.retry_after * 1000)
                    pipe.zadd(keys.delayed, dict.fromkeys(ids, later), xx=True, gt=True)
                    pipe.hmget(keys.jobs, ids)
                    pipe.hmget(keys.state, ids)
                    _, payloads, states = pipe.execute()
                there = [
                    Kept(id, payload, int(state.partition(b":")[0]))
                    for id, payload, state in zip(ids, payloads, states, strict=True)
                    if payload is not None and state is not None
                ]
                if there:
                    return there
                client.zrem(keys.delayed, *ids)  # one of laraq's keys was deleted manually

    def _drop(self, queue: str, ids: Sequence[bytes]) -> int:
        keys = self._store.keys.of(queue)
        with store_errors(self._store.label), self._store.client.pipeline(transaction=True) as pipe:
            pipe.zrem(keys.delayed, *ids)
            pipe.hdel(keys.jobs, *ids)
            pipe.hdel(keys.state, *ids)
            pipe.execute()
        return len(ids)

    def _due(self, queue: str) -> int:
        with store_errors(self._store.label):
            lost = int(self._store.client.zcount(self._store.keys.of(queue).reserved, "-inf", self._now()))
        return self._store.count(queue).pending + lost

    def _found(self, payload: str | bytes, attempts: int, put_at: float | None = None) -> Found:
        message, attempts, put_at = super()._found(payload, attempts, put_at)
        return message, message.pop(ATTEMPTS, 0) or attempts, put_at

    def _now(self) -> int:
        seconds, micros = self._store.client.time()
        return int(seconds * 1000 + micros // 1000)

    def _listed(self, queue: str) -> Iterator[tuple[bytes, int]]:
        for name in self._store.keys.of(queue).lists:
            seen = 0
            while page := cast("list[bytes]", self._store.client.lrange(name, -seen - PAGE, -seen - 1)):
                yield from ((payload, 0) for payload in reversed(page))
                seen += len(page)

    def _kept(self, queue: str, ids_in: str, first: int | str, last: int | str) -> Iterator[tuple[bytes, int]]:
        keys, client = self._store.keys.of(queue), self._store.client
        seen = 0
        while ids := cast("list[str]", client.zrangebyscore(ids_in, first, last, start=seen, num=PAGE)):
            payloads = cast("list[bytes | None]", client.hmget(keys.jobs, ids))
            states = cast("list[bytes | None]", client.hmget(keys.state, ids))
            for payload, state in zip(payloads, states, strict=True):
                if payload is not None and state is not None:  # neither acknowledged nor moved meanwhile
                    yield payload, int(state.partition(b":")[0])
            seen += len(ids)
