from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.ports import Demand
from laraq.testing.suite import SharedLimitsSuite
from laraq_redis import RedisStore
from laraq_redis.store.limits import RedisLimits
from tests.support.waiting import wait_until


class TestRedisLimits(SharedLimitsSuite):
    @pytest.fixture
    def limits(self, redis_url: str) -> Iterator[RedisLimits]:
        store = RedisStore.from_url(redis_url)
        yield store.limits
        store.close()


class TestRedisClusterLimits(SharedLimitsSuite):
    @pytest.fixture
    def limits(self, cluster: redis.RedisCluster) -> RedisLimits:
        cluster.flushall()
        return RedisStore(cluster).limits


def test_a_window_that_is_over_leaves_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        RedisStore(client).limits.take([Demand("key", 1, 0.05)])
        wait_until(lambda: client.keys("*") == [])


def test_a_window_may_be_read_by_people(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        RedisStore(client).limits.take([Demand("key", 5, 1e9, cost=2)])
        assert client.hgetall("{laraq}:limit:key") == {"used": "2", "ends_at": "2000000000000"}
