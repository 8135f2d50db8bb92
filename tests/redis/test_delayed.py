from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.testing.suite import SharedDelayedSuite
from laraq.testing.suite.delayed import BROKER, message
from laraq_redis import RedisStore
from laraq_redis.store.delayed import RedisDelayed


class TestRedisDelayed(SharedDelayedSuite):
    @pytest.fixture
    def delayed(self, redis_url: str) -> Iterator[RedisDelayed]:
        store = RedisStore.from_url(redis_url)
        yield store.delayed
        store.close()


class TestRedisClusterDelayed(SharedDelayedSuite):
    @pytest.fixture
    def delayed(self, cluster: redis.RedisCluster) -> RedisDelayed:
        cluster.flushall()
        return RedisStore(cluster).delayed


def test_messages_that_are_gone_leave_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        delayed = RedisStore(client).delayed
        delayed.put(BROKER, [(message(str(n), f"q{n}"), 0) for n in range(3)])
        delayed.forget(BROKER, ["0", "1", "2"])
        assert client.keys("*") == [b"{laraq}:delayed"]
        assert client.smembers("{laraq}:delayed") == {BROKER.encode()}


def test_clients_that_decode_answers_are_borne(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        delayed = RedisStore(client).delayed
        delayed.put(BROKER, [(message(queue="größe"), 0)])
        assert list(delayed.waiting(BROKER, "größe")) == [message(queue="größe")]
        assert list(delayed.take(BROKER, 1, 60).messages) == [message(queue="größe")]
        assert delayed.count(BROKER, "größe") == 1


def test_a_move_pushes_onto_lists_only_while_the_message_is_here(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        delayed = RedisStore(client).delayed
        delayed.put(BROKER, [(message(id), 0) for id in ("a", "b", "c")])
        moves = [("a", [("mails", "A")]), ("b", [("mails", "B"), ("copies", "B")]), ("gone", [("mails", "X")])]
        assert delayed.move(BROKER, moves) == 2
        assert delayed.move(BROKER, moves) == 0
        assert client.lrange("mails", 0, -1) == [b"B", b"A"]
        assert client.lrange("copies", 0, -1) == [b"B"]
        assert delayed.count(BROKER, "mails") == 1
