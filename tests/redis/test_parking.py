from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.errors import StoreError
from laraq.ports import Demand, Line, ParkedJob
from laraq.testing.suite import SharedParkingSuite
from laraq_redis import RedisStore


class TestRedisParking(SharedParkingSuite):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[RedisStore]:
        store = RedisStore.from_url(redis_url)
        yield store
        store.close()


class TestRedisClusterParking(SharedParkingSuite):
    @pytest.fixture
    def store(self, cluster: redis.RedisCluster) -> RedisStore:
        cluster.flushall()
        return RedisStore(cluster)


def test_a_line_leaves_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(client)
        line = Line("app", "lock")
        store.locks.acquire("lock", "holder", 60)
        store.parking.park(ParkedJob(line, "größe", "message\nof two lines"))
        called = store.parking.free(line, "holder")[1]
        assert [job.message for job in called] == ["message\nof two lines"]
        store.parking.sent(called)
        store.parking.free(line, "größe")
        assert client.keys("*") == []


def test_a_server_that_is_down_is_a_store_error() -> None:
    parking = RedisStore.from_url("redis://:secret@127.0.0.1:1/0").parking
    line = Line("app", None, ("limit",))
    for call in (
        lambda: parking.park(ParkedJob(line, "a", "", demands=(Demand("limit", 1, 60),))),
        lambda: parking.call(line),
        lambda: parking.due("app"),
        lambda: parking.count(line),
    ):
        with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 does not answer"):
            call()
