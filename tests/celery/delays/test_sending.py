"""Which jobs wait in the store, and what is seen of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from laraq.errors import DispatchError, NotInspectableError
from laraq.messages.inspection import QueueState
from laraq.messages.payload import Payload
from laraq_celery.sending.queue import CeleryQueue
from tests.celery.delays.conftest import Mail, OpenShop, Shop

DELAYED = QueueState.DELAYED


@pytest.fixture
def shop(open_shop: OpenShop, broker_url: str, redis_url: str) -> Shop:
    return open_shop(broker_url, redis_url, store_delays_over=10)


def test_long_delays_wait_in_the_store_and_short_ones_do_not(shop: Shop, queue_name: str) -> None:
    for delay in (0, 5, 10):
        shop.push(delay, queue_name, id=f"short {delay}")
    assert shop.delays.count(queue_name) == 0
    for delay in (10.5, 86_400 * 30):
        shop.push(delay, queue_name, id=f"long {delay}")
    assert shop.delays.count(queue_name) == 2


def test_every_verb_leads_there(shop: Shop, queue_name: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    dispatch = shop.laraq.dispatcher
    ids = [
        dispatch.dispatch(Mail("a").on_queue(queue_name).with_delay(60)).id,
        dispatch.dispatch(Mail("b").on_queue(queue_name).with_delay(later)).id,
        *(sent.id for sent in dispatch.bulk([Mail("c").on_queue(queue_name).with_delay(60 + n) for n in range(3)])),
        shop.app.tasks[Mail.job_name()].apply_async(("d",), countdown=60, queue=queue_name).id,
        shop.app.tasks[Mail.job_name()].apply_async(("e",), eta=later, queue=queue_name).id,
    ]
    inspected = shop.queue.inspection.jobs(queue_name, DELAYED)
    assert {job.id for job in inspected} == set(ids)
    assert shop.received(queue_name) == []


def test_a_bulk_of_both_kinds_is_parted(shop: Shop, queue_name: str) -> None:
    jobs = [Mail(str(n)).on_queue(queue_name).with_delay(60 * (n % 2)) for n in range(6)]
    shop.laraq.dispatcher.bulk(jobs)
    assert shop.delays.count(queue_name) == 3
    assert len(shop.received(queue_name)) == 3


def test_what_waits_is_counted_listed_and_dropped(shop: Shop, queue_name: str) -> None:
    for n in range(3):
        shop.push(60 - n, queue_name, id=str(n))
    shop.push(0, queue_name, id="now")
    inspection = shop.queue.inspection
    assert inspection.count(queue_name, DELAYED) == 3
    assert [job.id for job in inspection.jobs(queue_name, DELAYED)] == ["2", "1", "0"]
    assert [job.id for job in inspection.jobs(queue_name, DELAYED, 2)] == ["2", "1"]
    [first, *_] = inspection.jobs(queue_name, DELAYED)
    assert (first.name, first.payload["kwargs"]) == (Mail.job_name(), {"to": "ann"})
    assert inspection.size(queue_name) == 4
    assert inspection.clear(queue_name) == 4
    assert inspection.size(queue_name) == 0


def test_nothing_waits_where_no_other_process_looks(
    open_shop: OpenShop, broker_url: str, queue_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store in memory, and the file that is the store when nobody named one."""
    monkeypatch.chdir(tmp_path)
    for store in ("memory://", None if broker_url.startswith("amqp") else "memory://"):
        shop = open_shop(broker_url, store)
        shop.push(60, queue_name, id="1")
        assert shop.delays.count(queue_name) == 0
        [message] = shop.received(queue_name)
        assert message.headers["eta"] is not None
        assert "set laraq_store" in shop.delays.lacking


def test_it_can_be_turned_off(open_shop: OpenShop, broker_url: str, redis_url: str, queue_name: str) -> None:
    shop = open_shop(broker_url, redis_url, store_delays_over="inf")
    shop.push(10**7, queue_name, id="1")
    assert len(shop.received(queue_name)) == 1
    mover = shop.mover()
    mover.run()
    assert mover.wait() == 30, "what was kept before is still moved"


def test_rabbitmq_without_such_a_store_still_says_that_it_cannot_tell(
    open_shop: OpenShop, amqp_url: str, queue_name: str
) -> None:
    shop = open_shop(amqp_url, "memory://")
    with pytest.raises(NotInspectableError):
        shop.queue.inspection.count(queue_name, DELAYED)


def test_a_store_that_is_down_is_a_dispatch_error(open_shop: OpenShop, amqp_url: str, queue_name: str) -> None:
    shop = open_shop(amqp_url, "redis://127.0.0.1:1/0")
    with pytest.raises(DispatchError, match=r"1 delayed jobs were not sent: The store redis://127\.0\.0\.1:1/0"):
        shop.push(60, queue_name, id="1")


def test_dispatching_needs_no_broker(open_shop: OpenShop, redis_url: str, queue_name: str) -> None:
    shop = open_shop("amqp://guest:guest@127.0.0.1:1//", redis_url)
    shop.push(60, queue_name, id="1")
    assert shop.delays.count(queue_name) == 1


def test_a_named_connection_waits_under_its_own_broker(
    open_shop: OpenShop, redis_url: str, amqp_url: str, queue_name: str
) -> None:
    connections: dict[str, Any] = {"mail": {"url": amqp_url}}
    shop = open_shop(redis_url, redis_url, connections=connections)
    mail = shop.laraq.connection("mail")
    assert isinstance(mail, CeleryQueue)
    mail.push(Payload(id="1", job=Mail.job_name(), queue=queue_name), 60)
    assert (shop.delays.count(queue_name), mail.delays.count(queue_name)) == (0, 1)


def test_eager_apps_keep_nothing(open_shop: OpenShop, redis_url: str, queue_name: str) -> None:
    shop = open_shop(redis_url, redis_url)
    shop.app.conf.task_always_eager = True
    shop.push(60, queue_name, id="1")
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*delayed*") == []
