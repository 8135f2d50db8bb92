from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from laraq.testing.suite import SharedFailedJobsSuite, SharedJournalSuite, SharedStoreSuite
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.journal import running
from laraq_redis import RedisStore
from laraq_redis.store.failed import RedisFailedJobs
from laraq_redis.store.journal import RedisJournal
from tests.redis.private_server import PrivateRedis


class TestRedisStore(SharedStoreSuite):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[RedisStore]:
        store = RedisStore.from_url(redis_url)
        yield store
        store.close()


def test_a_store_connects_when_it_is_first_used(tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path)
    store = RedisStore.from_url(server.url)
    with server:
        store.failed.record(failure())
        assert store.failed.find("job-1") == failure()
        store.close()


def test_a_store_speaks_over_a_unix_socket(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server:
        store = RedisStore.from_url(f"unix://{server.socket_path}?db=3")
        for attempt in range(1, 4):
            store.journal.write("host:1", [running("job-1", attempt)])
        assert store.journal.find("job-1") == running("job-1", 3)
        store.close()


def test_closing_a_store_leaves_the_client_it_was_given_alone(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
        store = RedisStore(client)
        before = client.client_id()
        store.close()
        assert client.client_id() == before


class TestRedisClusterFailedJobs(SharedFailedJobsSuite):
    @pytest.fixture
    def failed(self, cluster: redis.RedisCluster) -> RedisFailedJobs:
        cluster.flushall()
        return RedisStore(cluster).failed


class TestRedisClusterJournal(SharedJournalSuite):
    @pytest.fixture
    def journal(self, cluster: redis.RedisCluster) -> Iterator[RedisJournal]:
        cluster.flushall()
        store = RedisStore(cluster)
        yield store.journal
        store.close()


def test_the_label_of_a_cluster_names_a_node(cluster: redis.RedisCluster) -> None:
    assert RedisStore(cluster).label.startswith("redis cluster at 127.0.0.1:")


def test_the_journal_of_a_cluster_has_a_connection_of_its_own(cluster: redis.RedisCluster) -> None:
    store = RedisStore(cluster)
    for attempt in range(1, 4):
        store.journal.write("host:1", [running("job-1", attempt)])
        assert store.journal._wire is not None
    store.close()
