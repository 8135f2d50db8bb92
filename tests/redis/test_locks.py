from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.errors import StoreError
from laraq.testing.suite import SharedLocksSuite
from laraq_redis import RedisStore
from laraq_redis.store.locks import RedisLocks
from tests.support.waiting import wait_until


class TestRedisLocks(SharedLocksSuite):
    @pytest.fixture
    def locks(self, redis_url: str) -> Iterator[RedisLocks]:
        store = RedisStore.from_url(redis_url)
        yield store.locks
        store.close()


class TestRedisClusterLocks(SharedLocksSuite):
    @pytest.fixture
    def locks(self, cluster: redis.RedisCluster) -> RedisLocks:
        cluster.flushall()
        return RedisStore(cluster).locks


def test_a_lock_leaves_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        locks = RedisStore(client).locks
        locks.acquire("key", "a", 60)
        locks.acquire("key", "b", 120, 2)
        assert client.pttl("{laraq}:lock:key") == pytest.approx(120_000, abs=2000)
        locks.release("key", "b")
        locks.release("key", "a")
        assert client.keys("*") == []


def test_a_lease_that_was_killed_leaves_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        RedisStore(client).locks.acquire("key", "a", 0.05)
        wait_until(lambda: client.keys("*") == [])


def test_clients_that_decode_answers_are_borne(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        locks = RedisStore(client).locks
        assert locks.acquire("key", "größe", 60) is True
        assert locks.owner("key") == "größe"


def test_a_server_that_lost_its_scripts_is_taught_them_again(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        locks = RedisStore(client).locks
        locks.acquire("key", "a", 60)
        client.script_flush()
        assert locks.acquire("key", "b", 60) is False


def test_a_server_that_is_down_is_a_store_error() -> None:
    locks = RedisStore.from_url("redis://:secret@127.0.0.1:1/0").locks
    for call in (lambda: locks.acquire("key", "a", 60), lambda: locks.release("key", "a"), lambda: locks.owner("key")):
        with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 does not answer"):
            call()
