from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.messages.tally import CLOSED, FIRST_LOAD, BatchQuery, BatchRecord, MemberState
from laraq.testing.suite import SharedBatchesSuite
from laraq_redis import RedisStore
from laraq_redis.store.batches import RedisBatches


class TestRedisBatches(SharedBatchesSuite):
    @pytest.fixture
    def batches(self, redis_url: str) -> Iterator[RedisBatches]:
        store = RedisStore.from_url(redis_url)
        yield store.batches
        store.close()


class TestRedisClusterBatches(SharedBatchesSuite):
    members = 200

    @pytest.fixture
    def batches(self, cluster: redis.RedisCluster) -> RedisBatches:
        cluster.flushall()
        return RedisStore(cluster).batches


def test_a_deleted_batch_leaves_nothing_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        batches = RedisStore(client, prefix="{shop}:").batches
        batches.create(BatchRecord(id="b"), ["j1", "j2"], 60)
        batches.add("b", "load", ["j3"], 60)
        batches.settle("b", MemberState.DONE, "j1")
        keys = client.keys("*")
        assert isinstance(keys, list)
        assert {key.split(b":")[0] for key in keys} == {b"{shop}"}
        assert batches.delete(BatchQuery()) == 1
        assert client.keys("*") == []


def test_a_closed_batch_is_in_no_list_of_things_to_do(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        batches = RedisStore(client).batches
        batches.create(BatchRecord(id="b"), ["j1"], 60)
        batches.end_load("b", FIRST_LOAD)
        batches.settle("b", MemberState.DONE, "j1")
        batches.mark("b", CLOSED)
        assert client.exists("{laraq}:batches:finished", "{laraq}:batches:loads") == 0


def test_a_batch_may_be_read_by_people(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        batches = RedisStore(client).batches
        batches.create(BatchRecord(id="b", wants=frozenset({"then"})), ["j1", "j2"], 60)
        batches.settle("b", MemberState.DONE, "j2")
        assert client.hgetall("{laraq}:batch-jobs:b") == {"j1": "pending 0 1", "j2": "done 1 1"}
        assert client.hget("{laraq}:batch:b", "done") == "1"
        found = batches.find("b")
        assert found is not None
        assert found.wants == {"then"}


def test_more_batches_than_one_page_are_listed_and_deleted(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    for number in range(1003):
        store.batches.create(BatchRecord(id=str(number)), [], 60)
    assert len(store.batches.all()) == 1003
    assert store.batches.delete(BatchQuery(limit=1002)) == 1002
    assert [batch.id for batch in store.batches.all()] == ["0"]
    store.close()
