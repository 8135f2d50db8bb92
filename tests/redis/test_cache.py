from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.testing.suite import SharedCacheSuite
from laraq_redis import RedisStore
from laraq_redis.store.cache import RedisCache


class TestRedisCache(SharedCacheSuite):
    @pytest.fixture
    def cache(self, redis_url: str) -> Iterator[RedisCache]:
        store = RedisStore.from_url(redis_url)
        yield store.cache
        store.close()


class TestRedisClusterCache(SharedCacheSuite):
    @pytest.fixture
    def cache(self, cluster: redis.RedisCluster) -> RedisCache:
        cluster.flushall()
        return RedisStore(cluster).cache
