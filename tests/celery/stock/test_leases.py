"""Leases on stock Redis, by hand: two channels of kombu, one of which loses its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection

from laraq_celery.stock.leases import SWEEP_LOCK, RedisLeases

#: Seconds of a lease whose end a test waits for.
TIMEOUT = 0.4


class Worker:
    """A channel that takes messages and acknowledges none by itself."""

    def __init__(self, url: str, queue: str, **options: Any) -> None:
        self.connection = Connection(url, transport_options=options)
        self.channel: Any = self.connection.channel()
        self.channel.qos.restore_visible(interval=1)  # as kombu's loop does when a worker connects
        self.queue = queue
        self.leases = RedisLeases(self.channel)

    def send(self, text: str) -> None:
        with self.connection.Producer(self.channel) as producer:
            producer.publish(text, routing_key=self.queue)

    def take(self) -> Any:
        """The next message, or None."""
        return self.channel.basic_get(self.queue)


@pytest.fixture
def workers(redis_url: str, queue_name: str) -> Iterator[list[Worker]]:
    made = [Worker(redis_url, queue_name, visibility_timeout=TIMEOUT) for _ in range(2)]
    yield made
    for worker in made:
        worker.channel.qos._delivered.clear()
        worker.connection.close()


def test_what_a_living_worker_holds_is_not_given_to_another(workers: list[Worker]) -> None:
    alive, other = workers
    alive.send("slow")
    held = alive.take()
    until = time.monotonic() + 3 * TIMEOUT
    while time.monotonic() < until:
        assert alive.leases.beat() is True
        other.leases.beat()
        assert other.take() is None
        time.sleep(TIMEOUT / 10)
    held.ack()
    assert alive.leases.beat() is False


def test_what_a_dead_worker_held_comes_back_redelivered(workers: list[Worker]) -> None:
    dead, other = workers
    dead.send("orphan")
    dead.take()
    found = None
    until = time.monotonic() + 10 * TIMEOUT
    while found is None and time.monotonic() < until:
        other.leases.beat()
        found = other.take()
        time.sleep(TIMEOUT / 20)
    assert found is not None
    assert found.payload == "orphan"
    assert found.delivery_info["redelivered"] is True


def test_what_was_acknowledged_stays_gone(workers: list[Worker], redis_url: str) -> None:
    worker, _ = workers
    worker.send("quick")
    tag = worker.take().delivery_tag
    worker.channel.qos.ack(tag)
    worker.channel.qos._dirty.discard(tag)  # as if that happened between the look at what is held and the renewal
    assert worker.leases.beat() is True
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard("unacked_index") == 0


def test_a_sweeper_that_was_killed_stops_the_others_for_seconds_only(redis_url: str, queue_name: str) -> None:
    worker = Worker(redis_url, queue_name)
    own = Worker(redis_url, queue_name, unacked_mutex_expire=77)
    assert worker.channel.qos.unacked_mutex_expire == SWEEP_LOCK
    assert own.channel.qos.unacked_mutex_expire == 77, "the user's own word"
    for each in (worker, own):
        each.connection.close()


def test_the_timeout_may_be_given_where_the_user_names_none(redis_url: str, queue_name: str) -> None:
    worker, own = Worker(redis_url, queue_name), Worker(redis_url, queue_name, visibility_timeout=77)
    leases = RedisLeases(worker.channel, 30)
    assert (leases.timeout, worker.channel.qos.visibility_timeout, leases.interval) == (30, 30, 3)
    assert RedisLeases(own.channel, 30).timeout == own.channel.qos.visibility_timeout == 77
    for each in (worker, own):
        each.connection.close()


def test_what_is_lacking_is_said(redis_url: str) -> None:
    with Connection(redis_url) as connection, connection.channel() as channel:
        assert RedisLeases.lacking(channel) == ""
        with Connection("memory://") as other, other.channel() as strange:
            assert RedisLeases.lacking(strange).startswith("this kombu has no conn_or_acquire, visibility_timeout")
    without = {"ack_emulation": False}
    with Connection(redis_url, transport_options=without) as connection, connection.channel() as channel:
        assert "ack_emulation is off" in RedisLeases.lacking(channel)
