"""What is put on Redis lists here is what kombu puts there."""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import Any

import billiard
import pytest
import redis
from kombu import Exchange, Queue

from laraq_celery.sending import bulk, redis_lists
from tests.celery.sending.conftest import Import, OpenWays, listened
from tests.support.round_trips import RoundTrips
from tests.support.waiting import wait_until


def lists(client: redis.Redis) -> dict[str, list[dict[str, Any]]]:
    """Every list of the database, without what differs between any two messages."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key in sorted(client.scan_iter(_type="list")):
        found[key.decode()] = [json.loads(one) for one in client.lrange(key, 0, -1)]
        for message in found[key.decode()]:
            assert message["properties"].pop("delivery_tag")
    client.delete(*found)
    return found


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "shop-"}, {"queue_order_strategy": "priority"}])
def test_lists_and_values_are_kombus(
    redis_url: str, client: redis.Redis, open_ways: OpenWays, options: dict[str, Any]
) -> None:
    ways = open_ways(redis_url, broker_transport_options=options)
    payloads = [
        ways.payload(), ways.payload(carrier={"priority": 3}), ways.payload(carrier={"priority": 99}),
        ways.payload(Import(1).on_queue("other")), ways.payload(Import(2, "Żółw")),
    ]  # fmt: skip
    with listened():
        for payload in payloads:
            ways.queue.push(payload)
    kombus = lists(client)
    for payload in payloads:
        assert not ways.refuses(payload)
    assert lists(client) == kombus
    assert ways.publisher.bulk([(payload, 0) for payload in payloads], None)
    assert lists(client) == kombus
    assert len(kombus) > 2


def test_a_thousand_jobs_are_one_round_trip(redis_url: str, client: redis.Redis, open_ways: OpenWays) -> None:
    with RoundTrips(redis_url, 6379) as trips:
        ways = open_ways(trips.url)
        ways.laraq.dispatcher.dispatch(Import(0))
        trips.count = 0
        ways.laraq.dispatcher.bulk(Import(row) for row in range(2500))
        assert trips.count == 3
        ways.close()
    assert client.llen("celery") == 2501


def test_large_messages_do_not_wait_for_many_others(
    redis_url: str, client: redis.Redis, open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SIZE", 10_000)
    ways = open_ways(redis_url)
    with ways.app.connection_or_acquire() as connection:
        sent, templates = bulk.OnLists(connection), ways.publisher.templates
        payload = ways.payload(Import(1, "x" * 4000))
        caller, template = templates.caller(), templates.find(payload.job, None)
        assert caller is not None
        assert template is not None
        counts = []
        for _ in range(4):
            sent.add(template.fill(payload, caller))
            counts.append((sent.taken, client.llen("celery")))
    assert counts == [(0, 0), (2, 2), (2, 2), (4, 4)]


def test_what_goes_through_an_exchange_stays_in_its_place(redis_url: str, open_ways: OpenWays) -> None:
    ways = open_ways(
        redis_url,
        task_queues=[Queue("celery", Exchange("celery"), "celery"), Queue("all", Exchange("all", "topic"), "#")],
    )
    sent = ways.laraq.dispatcher.bulk(Import(row).on_queue("all" if row % 2 else "celery") for row in range(6))
    assert ways.ids("celery") == [one.id for one in sent[::2]]
    assert ways.ids("all") == [one.id for one in sent[1::2]]


@pytest.mark.newest
def test_a_queue_that_expires_is_kept_alive_by_each_message(
    redis_url: str, client: redis.Redis, open_ways: OpenWays
) -> None:
    ways = open_ways(redis_url, task_queues=[Queue("celery", Exchange("celery"), "celery", expires=60)])
    ways.laraq.dispatcher.dispatch(Import(1))
    assert 0 < client.ttl("celery") <= 60
    client.persist("celery")
    ways.laraq.dispatcher.bulk([Import(2), Import(3)])
    assert 0 < client.ttl("celery") <= 60
    assert client.llen("celery") == 3


def test_what_laraq_redis_delays_is_not_put_on_the_list(
    redis_url: str, client: redis.Redis, open_ways: OpenWays
) -> None:
    ways = open_ways(f"laraq-{redis_url}")
    due, later = [ways.payload(Import(n)) for n in range(40)], [ways.payload(Import(n)) for n in range(40, 50)]
    mixed = [(payload, 0.0) for payload in due]
    for place, payload in enumerate(later):
        mixed.insert(3 * place, (payload, 60.0))
    assert ways.publisher.bulk(mixed, None)
    waiting = [json.loads(one)["headers"]["id"] for one in client.lrange("celery", 0, -1)]
    assert waiting[::-1] == [payload.id for payload in due]
    assert client.zcard("laraq:celery:delayed") == 10
    assert not ways.refuses(ways.payload())
    assert client.llen("celery") == 41


def test_a_transport_with_lists_of_its_own_is_left_alone(redis_url: str, open_ways: OpenWays) -> None:
    for url, behind in ((redis_url, True), (f"laraq-{redis_url}", True), ("memory://", False)):
        with open_ways(url).app.connection_or_acquire() as connection:
            assert redis_lists.are_behind(connection.default_channel) is behind


@pytest.mark.parametrize("forking", [billiard, multiprocessing], ids=["billiard", "multiprocessing"])
def test_a_forked_child_sends_through_a_connection_and_under_a_name_of_its_own(
    redis_url: str, client: redis.Redis, open_ways: OpenWays, forking: Any
) -> None:
    ways = open_ways(redis_url)
    for _ in range(2):
        ways.queue.push(ways.payload())
    context = forking.get_context("fork")
    answered = context.Queue()
    child = context.Process(target=lambda: answered.put([os.getpid(), ways.refuses(ways.payload())]))
    child.start()
    pid, refused = answered.get(timeout=20)
    child.join()
    ways.queue.push(ways.payload())
    origins = [json.loads(one)["headers"]["origin"].partition("@")[0] for one in client.lrange("celery", 0, -1)]
    mine = f"gen{os.getpid()}"
    assert not refused
    assert origins == [mine, f"gen{pid}", mine, mine]


def test_jobs_go_over_one_connection_which_is_closed_with_its_channel(
    redis_url: str, client: redis.Redis, open_ways: OpenWays
) -> None:
    database = str(client.connection_pool.connection_kwargs["db"])  # others use the same server

    def connected() -> int:
        return sum(one["db"] == database for one in client.client_list())

    before, ways = connected(), open_ways(redis_url)
    ways.queue.push(ways.payload())
    opened = connected()
    for _ in range(5):
        ways.queue.push(ways.payload())
    assert connected() <= opened + 1
    assert before < opened
    ways.close()
    wait_until(lambda: connected() == before)


def test_a_pool_of_one_connection_is_enough(redis_url: str, client: redis.Redis, open_ways: OpenWays) -> None:
    ways = open_ways(redis_url, broker_transport_options={"max_connections": 1})
    for _ in range(3):
        assert not ways.refuses(ways.payload())
        with listened():
            ways.queue.push(ways.payload())
    assert client.llen("celery") == 6


def test_an_answer_that_was_not_waited_for_is_not_taken_for_another(
    redis_url: str, client: redis.Redis, open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = open_ways(redis_url)
    for _ in range(2):
        ways.queue.push(ways.payload())
    with ways.app.connection_or_acquire() as held:
        connection = held.default_channel.laraq_connection[-1]

    def interrupt() -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "read_response", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ways.queue.push(ways.payload())
    assert not ways.refuses(ways.payload())
    assert not connection.can_read(timeout=0.1)
    assert client.llen("celery") == 4
