"""The inspection reads what kombu's own Redis transport writes."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from laraq.errors import InspectionError
from laraq.messages.inspection import QueueState
from tests.celery.stock.conftest import Broker, OpenBroker
from tests.celery.stock.jobs import Import

PENDING, DELAYED, RESERVED = QueueState.PENDING, QueueState.DELAYED, QueueState.RESERVED


@pytest.fixture(params=["", "shop:"], ids=["no prefix", "prefix"])
def broker(request: pytest.FixtureRequest, redis_url: str, open_broker: OpenBroker) -> Broker:
    return open_broker(redis_url, global_keyprefix=request.param)


def counts(broker: Broker, queue: str) -> tuple[int, int, int, int]:
    inspection = broker.inspection
    states = [inspection.count(queue, state) for state in (PENDING, DELAYED, RESERVED)]
    return inspection.size(queue), *states  # type: ignore[return-value]  # there are three states


def rows(broker: Broker, queue: str, state: QueueState, limit: int | None = None) -> list[Any]:
    return [job.payload["kwargs"]["row"] for job in broker.inspection.jobs(queue, state, limit)]


def test_a_queue_nobody_has_heard_of_is_empty(broker: Broker) -> None:
    assert counts(broker, "none") == (0, 0, 0, 0)
    assert broker.inspection.jobs("none", PENDING) == []
    assert broker.inspection.clear("none") == 0


def test_each_state_is_counted_and_listed_next_job_first(broker: Broker) -> None:
    for row in (1, 2, 3):
        broker.send(Import(row), "imports")
    broker.send(Import(4), "imports", delay=600)
    broker.send(Import(5), "others")
    broker.take("imports")
    broker.take("others")
    assert counts(broker, "imports") == (4, 2, 1, 1)
    assert counts(broker, "others") == (1, 0, 0, 1)
    assert (rows(broker, "imports", PENDING), rows(broker, "imports", DELAYED)) == ([2, 3], [4])
    assert (rows(broker, "imports", RESERVED), rows(broker, "others", RESERVED)) == ([1], [5])
    assert rows(broker, "imports", PENDING, limit=1) == [2]


def test_a_delayed_job_that_a_worker_holds_stays_delayed(broker: Broker) -> None:
    broker.send(Import(1), "imports", delay=600)
    broker.take("imports")
    assert counts(broker, "imports") == (1, 0, 1, 0)
    assert rows(broker, "imports", DELAYED) == [1]


def test_priorities_are_parts_of_one_queue(broker: Broker) -> None:
    for row, priority in ((1, 9), (2, 0), (3, 5)):
        broker.send(Import(row).with_priority(priority), "imports")
    assert counts(broker, "imports") == (3, 3, 0, 0)
    taken = [message.payload[1]["row"] for message in broker.take("imports", 3)]
    broker.inspection.clear("imports")
    for row, priority in ((1, 9), (2, 0), (3, 5)):
        broker.send(Import(row).with_priority(priority), "imports")
    assert rows(broker, "imports", PENDING) == taken


def test_a_job_is_shown_with_its_name_payload_attempts_and_time(broker: Broker) -> None:
    before = time.time()
    id = broker.send(Import(7), "imports")
    [job] = broker.inspection.jobs("imports", PENDING)
    assert (job.id, job.queue, job.name, job.attempts) == (id, "imports", Import.job_name(), 0)
    assert (job.payload["kwargs"], job.payload["laraq"]["queue"]) == ({"row": 7}, "imports")
    assert job.created_at is not None
    assert before <= job.created_at.timestamp() <= time.time()
    broker.take("imports")
    [job] = broker.inspection.jobs("imports", RESERVED)
    assert (job.id, job.attempts) == (id, 1)


def test_an_ordinary_task_is_shown_too(broker: Broker) -> None:
    broker.app.send_task("shop.resize", (1,), {"width": 2}, queue="imports", argsrepr='"eta": "2999-01-01"')
    [job] = broker.inspection.jobs("imports", PENDING)
    assert (job.name, job.attempts, job.created_at) == ("shop.resize", 0, None)
    assert (job.payload["args"], job.payload["kwargs"]) == ([1], {"width": 2})


def test_more_than_a_page_is_read_in_order(broker: Broker) -> None:
    broker.laraq.dispatcher.bulk(Import(row).on_queue("imports") for row in range(1100))
    assert rows(broker, "imports", PENDING) == list(range(1100))
    assert counts(broker, "imports") == (1100, 1100, 0, 0)


def test_clear_drops_every_state_of_that_queue_only(broker: Broker) -> None:
    for row in (1, 2):
        broker.send(Import(row), "imports")
        broker.send(Import(row), "others")
    broker.send(Import(3).with_priority(9), "imports")
    broker.send(Import(4), "imports", delay=600)
    [running] = broker.take("imports")
    broker.take("others")
    assert broker.inspection.clear("imports") == 4
    assert counts(broker, "imports") == (0, 0, 0, 0)
    assert counts(broker, "others") == (2, 1, 0, 1)
    running.ack()
    assert counts(broker, "others") == (2, 1, 0, 1)


def test_what_strangers_put_into_a_list_is_shown_without_a_name(redis_url: str, open_broker: OpenBroker) -> None:
    broker = open_broker(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("imports", "no json", "[1]")
        client.hset("unacked", "tag", "no json")
    assert [(job.id, job.name) for job in broker.inspection.jobs("imports", PENDING)] == [("", ""), ("", "")]
    assert counts(broker, "imports") == (2, 2, 0, 0)


def test_a_broker_that_is_down_is_named_without_its_password(open_broker: OpenBroker) -> None:
    broker = open_broker("redis://:secret@127.0.0.1:1/0", socket_connect_timeout=1)
    with pytest.raises(InspectionError, match=r"redis://:\*\*@127.0.0.1:1/0") as raised:
        broker.inspection.size("imports")
    assert "secret" not in str(raised.value)
