"""Bulk: every message arrives once and in order, whatever the broker's way, and what does not arrive is counted."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import redis

from laraq import Job
from laraq.errors import DispatchError, InvalidJobError
from laraq.sending import dispatcher
from laraq_celery.sending import bulk as bulk_module
from laraq_celery.sending.bulk import Collected, Confirmed, OneByOne, OnLists, open_bulk
from tests.celery.sending.conftest import Import, OpenWays, Ways, listened
from tests.redis.private_server import PrivateRedis, free_port


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Few messages are on their way at once."""
    monkeypatch.setattr(bulk_module, "IN_FLIGHT", 10)
    return 10


def test_every_broker_gets_all_jobs_in_their_order(any_url: str, open_ways: OpenWays, small: int) -> None:
    ways = open_ways(any_url)
    sent = ways.laraq.dispatcher.bulk(Import(row) for row in range(5 * small + 3))
    assert ways.ids() == [one.id for one in sent]


def test_a_bulk_of_celerys_way_gets_all_jobs_in_their_order(any_url: str, open_ways: OpenWays) -> None:
    ways = open_ways(any_url)
    with listened():
        sent = ways.laraq.dispatcher.bulk(Import(row) for row in range(25))
    assert ways.ids() == [one.id for one in sent]


def test_queues_delays_and_priorities_of_one_bulk_are_kept_apart(any_url: str, open_ways: OpenWays) -> None:
    ways = open_ways(any_url)
    sent = ways.laraq.dispatcher.bulk([
        Import(1), Import(2).on_queue("other"), Import(3), Import(4).on_queue("other").with_priority(0),
    ])  # fmt: skip
    assert ways.ids() == [sent[0].id, sent[2].id]
    assert ways.ids("other") == [sent[1].id, sent[3].id]


def test_each_broker_is_served_its_own_way(
    open_ways: OpenWays, redis_url: str, amqp_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    expected = {
        redis_url: OnLists,
        amqp_url: Confirmed,
        f"laraq-db+{sqlite_url}": Collected,
        f"laraq-{redis_url}": OnLists,
        "memory://": OneByOne,
    }
    found = {}
    for url in expected:
        with open_ways(url).app.connection_or_acquire() as connection:
            sent = open_bulk(connection, {})
            found[url] = type(sent)
            sent.close()
    assert found == expected


def test_a_transport_that_cannot_batch_safely_is_served_one_by_one(redis_url: str, open_ways: OpenWays) -> None:
    """kombu says so where redis-py itself would send a command again."""
    ways = open_ways(redis_url, broker_transport_options={"retry_on_timeout": True})
    with ways.app.connection_or_acquire() as connection:
        if getattr(connection.default_channel, "supports_batch_publish", True):
            pytest.skip("this kombu does not tell")
        assert type(open_bulk(connection, {})) is OneByOne


def test_a_bulk_needs_no_more_memory_than_its_parts(open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "BULK", 200)

    class Big(Job):
        text: str

        def handle(self) -> None: ...

    ways = open_ways()
    ways.laraq.dispatcher.bulk([Big("x")])

    def peak(count: int) -> int:
        tracemalloc.start()
        ways.laraq.dispatcher.bulk(Big("x" * 2000).on_connection("null") for _ in range(count))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(8 * 200) < 4 * peak(200)


@pytest.mark.parametrize("scheme", ["redis", "amqp", "laraq-redis"])
def test_a_broker_that_is_down_takes_none_of_them(open_ways: OpenWays, scheme: str) -> None:
    ways = open_ways(f"{scheme}://127.0.0.1:{free_port()}//", task_publish_retry_policy={"max_retries": 0})
    with pytest.raises(DispatchError, match=r"^7 of 7 jobs may not have been sent: connection 'default' at .*refused"):
        ways.laraq.dispatcher.bulk(Import(row) for row in range(7))
    with pytest.raises(DispatchError, match=r"^Job .*Import was not sent: connection 'default' at .*refused"):
        ways.laraq.dispatcher.dispatch(Import(1))


@pytest.mark.fault
def test_what_a_dying_broker_has_taken_is_known(tmp_path: Path, open_ways: OpenWays, small: int) -> None:
    with PrivateRedis(tmp_path) as server:
        ways = open_ways(server.url)
        templates, payload = ways.publisher.templates, ways.payload()
        caller, template = templates.caller(), templates.find(payload.job, None)
        assert caller is not None
        assert template is not None
        with ways.app.connection_or_acquire() as connection:
            sent = open_bulk(connection, {})
            for _ in range(2 * small + 5):
                sent.add(template.fill(payload, caller))
            server.kill()
            with pytest.raises(connection.recoverable_connection_errors):
                sent.flush()
        assert sent.taken == 2 * small


@pytest.mark.fault
def test_a_job_gets_through_though_the_broker_was_restarted_since_the_last(tmp_path: Path, open_ways: OpenWays) -> None:
    """The connection is found dead; Celery makes a new one."""
    with PrivateRedis(tmp_path) as server:
        ways = open_ways(server.url)
        ways.laraq.dispatcher.dispatch(Import(1))
        server.kill()
        server.start()
        sent = ways.laraq.dispatcher.dispatch(Import(2))
        with redis.Redis(port=server.port) as client:
            assert client.llen("celery") == 1
        bulk = ways.laraq.dispatcher.bulk([Import(3)])
        fresh = open_ways(server.url)
        assert fresh.ids() == [sent.id, bulk[0].id]


def test_a_value_that_is_no_json_names_its_job_and_sends_nothing(open_ways: OpenWays) -> None:
    ways = open_ways()
    odd = ways.payload(fields={"row": object()})
    with pytest.raises(InvalidJobError, match=r"Import was not sent: .*not JSON serializable"):
        ways.queue.push(odd)
    with pytest.raises(InvalidJobError, match=r"Import was not sent: .*not JSON serializable"):
        ways.queue.bulk([(odd, 0)])
    assert ways.ids() == []


def test_jobs_of_a_named_connection_have_templates_too(redis_url: str, open_ways: OpenWays, tmp_path: Path) -> None:
    ways: Ways = open_ways(redis_url, laraq_connections={"files": {"url": f"laraq-db+sqlite:///{tmp_path / 'b.db'}"}})
    dispatcher = ways.laraq.dispatcher
    sent = [dispatcher.dispatch(Import(1).on_connection("files"))]
    sent += dispatcher.bulk(Import(row).on_connection("files") for row in range(3))
    assert ways.ids() == []
    files = open_ways(f"laraq-db+sqlite:///{tmp_path / 'b.db'}")
    assert files.ids() == [one.id for one in sent]
