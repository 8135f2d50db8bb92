"""What an idle worker hears of its queues."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from laraq_kombu import Posting
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.store import MOST_URGENT, RedisQueues
from laraq_redis.broker.wakeup import ChangeTracking
from tests.redis.private_server import PrivateRedis

KEYS = BrokerKeys()


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[RedisQueues]:
    """On a server of its own: another test's FLUSHDB would be reported as a change of every key."""
    with PrivateRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        yield RedisQueues(client, KEYS, 60)


@pytest.fixture
def wakeup(queues: RedisQueues) -> Iterator[ChangeTracking]:
    wakeup = ChangeTracking(queues.client.connection_pool, queues.label)
    yield wakeup
    wakeup.close()


def _hears(wakeup: ChangeTracking, seconds: float = 2) -> bool:
    assert wakeup.socket is not None
    return bool(select.select([wakeup.socket], (), (), seconds)[0]) and wakeup.drain()


def test_a_look_tells_what_is_there(queues: RedisQueues, wakeup: ChangeTracking) -> None:
    assert wakeup.look((KEYS.of("q"),)) == (False, None)
    queues.put([Posting("q", "x", delay=60)])
    seen = wakeup.look((KEYS.of("q"), KEYS.of("r")))
    assert not seen.pending
    assert seen.next_due == pytest.approx(60, abs=1)
    queues.put([Posting("r", "x", MOST_URGENT - 9)])
    assert wakeup.look((KEYS.of("q"), KEYS.of("r"))).pending


@pytest.mark.parametrize("delay", [0, 60])
def test_the_first_job_after_a_look_is_heard_of_in_any_priority(
    queues: RedisQueues, wakeup: ChangeTracking, delay: float
) -> None:
    for priority in (0, 5, 9):
        queues.purge("q")
        wakeup.look((KEYS.of("other"), KEYS.of("q")))
        assert not _hears(wakeup, 0.05)
        queues.put([Posting("q", "x", priority, delay)])
        assert _hears(wakeup)


def test_what_happened_before_a_look_is_no_news(queues: RedisQueues, wakeup: ChangeTracking) -> None:
    wakeup.look((KEYS.of("q"),))
    queues.put([Posting("q", "x")])
    assert wakeup.look((KEYS.of("q"),)).pending
    assert not _hears(wakeup, 0.1)
    queues.step((), ["q"], 1)
    assert _hears(wakeup)
