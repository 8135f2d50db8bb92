"""The Redis broker's store passes the suites of the transport core."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from laraq_kombu import SLOTS, Lease, Posting, new_put
from laraq_kombu.suite import RETRY_AFTER, OpenStore, QueuesSuite, ReservationsSuite
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.store import MOST_URGENT, RedisQueues


class TestRedis(ReservationsSuite, QueuesSuite):
    @pytest.fixture
    def open_store(self, redis_url: str) -> Iterator[OpenStore]:
        opened = []

        def open_one() -> RedisQueues:
            opened.append(RedisQueues(redis.Redis.from_url(redis_url), BrokerKeys(), RETRY_AFTER))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()


@pytest.fixture
def queues(redis_url: str) -> Iterator[RedisQueues]:
    client = redis.Redis.from_url(redis_url)
    yield RedisQueues(client, BrokerKeys(), RETRY_AFTER)
    client.close()


def test_used_attempts_travel_in_a_key_that_stock_workers_ignore(queues: RedisQueues) -> None:
    queues.client.lpush("q", '{"body": "x"}', "no object")
    first, second = queues.step((), ["q"], 2).jobs
    queues.release([first.lease, second.lease])
    listed: Any = queues.client.lrange("q", 0, -1)
    assert json.loads(listed[0 if b"body" in listed[0] else 1]) == {"laraq-attempts": 1, "body": "x"}
    jobs = queues.step((), ["q"], 2).jobs
    assert sorted((job.payload, job.lease.attempts) for job in jobs) == [("no object", 2), ('{"body": "x"}', 2)]


def test_jobs_given_back_unused_come_out_first_and_in_order(queues: RedisQueues) -> None:
    queues.client.lpush("q", *"abcde")
    taken = queues.step((), ["q"], 3).jobs
    queues.release([job.lease for job in taken], counted=False)
    assert [job.payload for job in queues.step((), ["q"], 9).jobs] == list("abcde")


def test_the_acknowledgement_of_a_job_that_the_server_forgot_hits_no_other_job(queues: RedisQueues) -> None:
    queues.client.lpush("q", "old")
    (old,) = queues.step((), ["q"], 1).jobs
    queues.client.flushdb()  # what a restart without persistence does
    queues.client.lpush("q", "new")
    (new,) = queues.step((), ["q"], 1).jobs
    assert queues.step([old.lease], ["q"], 1).jobs == []
    assert queues.count("q").reserved == 1
    assert new.lease.id > old.lease.id


def test_jobs_that_become_due_go_behind_those_that_wait_in_their_priority(queues: RedisQueues) -> None:
    queues.put([Posting("q", "late", MOST_URGENT, delay=0.05), Posting("q", "low", 0)])
    queues.client.lpush("q", "waiting")
    time.sleep(0.06)
    assert queues.count("q") == (3, 0, 0)
    assert [job.payload for job in queues.step((), ["q"], 3).jobs] == ["waiting", "late", "low"]


def test_many_jobs_that_become_due_at_once_are_all_handed_out(queues: RedisQueues) -> None:
    queues.put([Posting("q", str(n), MOST_URGENT, delay=0.01) for n in range(500)])
    time.sleep(0.02)
    found = []
    while jobs := queues.step((), ["q"], 64).jobs:
        found += [int(job.payload) for job in jobs]
    assert found == list(range(500))


def test_a_hundred_thousand_delayed_jobs_cost_the_others_nothing(queues: RedisQueues) -> None:
    def step_time() -> float:
        queues.client.lpush("q", *["x" * 200] * 600)
        acks, times = list[Lease](), []
        for _ in range(60):
            start = time.perf_counter()
            acks = [job.lease for job in queues.step(acks, ["q"], 10).jobs]
            times.append(time.perf_counter() - start)
        queues.step(acks, (), 0)
        return statistics.median(times)

    without = step_time()
    with queues.client.pipeline(transaction=False) as pipe:
        for start in range(0, 100_000, 1000):
            jobs = [Posting("q", "x" * 200, MOST_URGENT, 86400 + start + n) for n in range(1000)]
            pipe.eval(*queues.putting("q", jobs, new_put()))
        pipe.execute()
    assert step_time() < without * 2 + 0.0005
    assert queues.purge("q") == 100_000


def test_what_a_process_has_put_takes_four_kilobytes_at_most(queues: RedisQueues) -> None:
    for n in range(SLOTS + 10):
        put = new_put()
        queues.put([Posting("q", str(n))], put)
    key = queues.keys.puts_of(put.writer)
    assert queues.client.strlen(key) == 4 * SLOTS
    assert queues.client.ttl(key) > 3000
    assert queues.client.keys("*puts*") == [key.encode()]
