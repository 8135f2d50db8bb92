from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.messages.failure import FailedJobQuery
from laraq.testing.suite import SharedFailedJobsSuite
from laraq.testing.suite.failed_jobs import failure
from laraq_redis import RedisStore
from laraq_redis.store.failed import RedisFailedJobs


class TestRedisFailedJobs(SharedFailedJobsSuite):
    @pytest.fixture
    def failed(self, redis_url: str) -> Iterator[RedisFailedJobs]:
        store = RedisStore.from_url(redis_url)
        yield store.failed
        store.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore.from_url(redis_url)
    yield store
    store.close()


def test_more_records_than_one_page_are_listed_and_flushed(store: RedisStore) -> None:
    for number in range(1003):
        store.failed.record(failure(f"job-{number}", minutes=number, queue="even" if number % 2 == 0 else "odd"))
    assert [job.id for job in store.failed.all()] == [f"job-{number}" for number in reversed(range(1003))]
    assert store.failed.flush(FailedJobQuery(queue="even")) == 502
    assert store.failed.count() == 501
    assert store.failed.flush() == 501


def test_every_key_starts_with_the_prefix(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore(client, prefix="{shop}:")
        store.failed.record(failure())
        keys = client.keys("*")
        assert isinstance(keys, list)
        assert {key.split(b":")[0] for key in keys} == {b"{shop}"}
        store.failed.flush()
        assert client.keys("*") == []


def test_records_written_before_the_server_lost_its_scripts_are_forgotten(store: RedisStore) -> None:
    store.failed.record(failure())
    store.client.script_flush()
    assert store.failed.forget("job-1") is True
