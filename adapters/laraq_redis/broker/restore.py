"""restore(): converts the queues back to the form of stock kombu."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from laraq_redis.broker.envelope import as_stock
from laraq_redis.broker.keys import QueueKeys
from laraq_redis.broker.scripts import load
from laraq_redis.broker.store import PAGE, RedisQueues
from laraq_redis.client.connection import store_errors


class Restored(NamedTuple):
    """How many jobs of a queue were put back."""

    queue: str
    delayed: int
    reserved: int


def restore(queues: RedisQueues, names: Sequence[str] = ()) -> list[Restored]:
    """Put the delayed and reserved jobs of the queues on their lists; of all queues when none is named.

    Reserved jobs come first in their list, marked as delivered before; delayed ones last, with their due time as ETA.
    Each job moves in one step, so that nothing is lost if this is interrupted, and it may be called again.
    """
    with store_errors(queues.label):
        queues.client.script_load(load("restore").text)
        found = []
        for name in names or sorted(set(_names(queues))):
            keys = queues.keys.of(name)
            # In reverse order: each is put before the others.
            ids = sorted(cast("list[bytes]", queues.client.zrange(keys.reserved, 0, -1)), key=int, reverse=True)
            reserved = sum(
                _move(queues, keys, keys.reserved, [(id, None) for id in ids[start : start + PAGE]])
                for start in range(0, len(ids), PAGE)
            )
            delayed = 0
            while page := cast("list[Any]", queues.client.zrange(keys.delayed, 0, PAGE - 1, withscores=True)):
                delayed += _move(queues, keys, keys.delayed, [(id, due / 1000) for id, due in page])
            if reserved or delayed:
                found.append(Restored(name, delayed, reserved))
        return found


def _names(queues: RedisQueues) -> Iterator[str]:
    for key in queues.client.scan_iter(match=queues.keys.pattern, count=PAGE, _type="zset"):
        name = queues.keys.queue_of(key.decode())
        if name is not None:
            yield name


def _move(queues: RedisQueues, keys: QueueKeys, ids_in: str, jobs: Iterable[tuple[bytes, float | None]]) -> int:
    jobs = list(jobs)
    ids = [id for id, _ in jobs]
    payloads: Any = queues.client.hmget(keys.jobs, ids)
    states: Any = queues.client.hmget(keys.state, ids)
    end = "HEAD" if ids_in == keys.reserved else "TAIL"
    with queues.client.pipeline(transaction=False) as pipe:
        for (id, due), payload, state in zip(jobs, payloads, states, strict=True):
            if payload is None or state is None:
                pipe.zrem(ids_in, id)  # one of laraq's keys was deleted manually
                continue
            attempts, _, level = map(int, state.split(b":"))
            text: str | bytes = payload
            with contextlib.suppress(ValueError, LookupError, TypeError):  # other items stay unchanged
                text = as_stock(payload.decode(), attempts, due)
            script = load("restore").sha
            pipe.evalsha(script, 4, ids_in, keys.jobs, keys.state, keys.lists[level], id, text, end)
        return sum(answer for answer in pipe.execute())
