"""What waited in the store reaches the broker as the message it would have been at once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import signals

from laraq_celery.stock.delays import mover as mover_module
from laraq_redis import RedisStore
from tests.celery.delays.conftest import OpenShop, Shop, content
from tests.support.waiting import wait_until

PAIRS = ["redis in itself", "redis with sqlite", "redis with postgres", "amqp with redis", "amqp with mariadb"]


@pytest.fixture(params=PAIRS)
def shop(request: pytest.FixtureRequest, open_shop: OpenShop) -> Shop:
    kind, _, store = request.param.partition(" with ")
    kind = kind.split()[0]
    broker = request.getfixturevalue(f"{kind}_url")
    shop = open_shop(broker, request.getfixturevalue(f"{store}_url") if store else broker)
    shop.laraq.migrate()
    return shop


def wait_and_move(shop: Shop, queue: str, count: int = 1) -> list[Any]:
    """The messages, once their time has come."""
    mover, found = shop.mover(), []

    def look() -> bool:
        mover.run()
        found.extend(shop.received(queue))
        return len(found) >= count

    wait_until(look)
    return found


#: What jobs may bring along, by the id they are sent with.
CARRIERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "named": {"priority": 6, "shadow": "other name", "ignore_result": True},
    "limited": {"expires": 3600, "time_limit": 30, "soft_time_limit": 20, "headers": {"mine": ["a", 1]}},
    "linked": {
        "link": [{"task": "x", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}]
    },
    "compressed": {"compression": "zlib"},
    "grouped": {"root_id": "root", "parent_id": "parent", "group_id": "g", "group_index": 3},
}


def test_a_job_that_waited_is_the_message_it_would_have_been(shop: Shop, queue_name: str) -> None:
    kept = {"tags": ("a",), "unique": {"key": "k", "owner": "o"}, "context": {"n": 1}, "attempts": 2}
    for id, carrier in CARRIERS.items():
        shop.push(0, queue_name, carrier, id=id, **kept)
    at_once = {message.headers["id"]: content(message) for message in shop.received(queue_name)}
    for id, carrier in CARRIERS.items():
        shop.push(0.1, queue_name, carrier, id=id, **kept)
    later = {message.headers["id"]: content(message) for message in wait_and_move(shop, queue_name, len(CARRIERS))}
    assert at_once.keys() == later.keys() == CARRIERS.keys()
    for one in (at_once, later):
        moment = datetime.fromisoformat(one["limited"]["headers"].pop("expires"))
        assert moment - datetime.now(UTC) == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=30))
    if not shop.mover().atomic:
        assert [message["headers"]["laraq"].pop("once") for message in later.values()] == [1] * len(CARRIERS)
    assert later == at_once
    assert shop.delays.count(queue_name) == 0


def test_a_store_in_the_broker_itself_is_known_by_its_address(open_shop: OpenShop, redis_url: str) -> None:
    other = f"{redis_url.rpartition('/')[0]}/0"
    assert open_shop(redis_url, redis_url).mover().atomic
    assert open_shop(redis_url, RedisStore.from_url(redis_url)).mover().atomic
    assert not open_shop(redis_url, other).mover().atomic


def test_key_prefixes_make_brokers_of_their_own(open_shop: OpenShop, redis_url: str, queue_name: str) -> None:
    ours, theirs = open_shop(redis_url, redis_url), open_shop(redis_url, redis_url)
    theirs.app.conf.broker_transport_options = {"global_keyprefix": "theirs:"}
    theirs.push(0.1, queue_name, id="1")
    assert (ours.delays.count(queue_name), theirs.delays.count(queue_name)) == (0, 1)
    assert theirs.mover().atomic
    [message] = wait_and_move(theirs, queue_name)
    assert message.headers["id"] == "1"
    assert ours.received(queue_name) == []


def test_priorities_lead_to_the_lists_of_stock_redis(open_shop: OpenShop, redis_url: str, queue_name: str) -> None:
    shop = open_shop(redis_url, redis_url)
    for priority in (0, 3, 9):
        shop.push(0.1, queue_name, {"priority": priority}, id=str(priority))
    with redis.Redis.from_url(redis_url) as client:
        mover = shop.mover()
        lists = [queue_name, f"{queue_name}\x06\x163", f"{queue_name}\x06\x169"]
        wait_until(lambda: mover.run() or [client.llen(name) for name in lists] == [1, 1, 1])


def test_a_message_the_broker_does_not_take_waits_on(
    open_shop: OpenShop, redis_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A broker that is down is asked again; the store keeps the message meanwhile."""
    shop = open_shop("amqp://guest:guest@127.0.0.1:1//", redis_url)
    shop.push(0.1, queue_name, id="1")
    mover = shop.mover()
    monkeypatch.setattr(mover_module, "HIDDEN", 0.05)
    with caplog.at_level(logging.WARNING, "laraq.delays"):
        wait_until(lambda: mover.run() or caplog.records, timeout=30)
    assert "are not moved, trying again" in caplog.text
    assert mover.wait() == mover_module.PAUSE
    assert shop.delays.count(queue_name) == 1


def test_a_broken_message_does_not_keep_the_others_waiting(
    open_shop: OpenShop, redis_url: str, queue_name: str, caplog: Any
) -> None:
    shop = open_shop(redis_url, redis_url)
    store = shop.delays.store
    assert store is not None
    shop.push(0.06, queue_name, id="1")
    [good] = store.waiting(shop.delays.broker, queue_name)
    store.put(shop.delays.broker, [(type(good)("broken", queue_name, "{}"), 0)])
    [message] = wait_and_move(shop, queue_name)
    assert message.headers["id"] == "1"
    assert "cannot be sent" in caplog.text


def test_a_broker_whose_messages_nobody_moves_is_reported(
    open_shop: OpenShop, redis_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(mover_module, "OVERDUE", 0.05)
    other = open_shop("amqp://elsewhere:5672//", redis_url)
    other.push(0.06, queue_name, id="1")
    mover = open_shop(redis_url, redis_url).mover()
    wait_until(lambda: mover.run() or caplog.records)
    assert "Delayed jobs for the broker amqp://elsewhere:5672/" in caplog.text


def test_the_mover_looks_when_the_next_message_is_due(open_shop: OpenShop, redis_url: str, queue_name: str) -> None:
    shop = open_shop(redis_url, redis_url, store_delays_over=10)
    mover = shop.mover()
    mover.run()
    assert mover.wait() == 5, "twice in the shortest time a message may wait"
    shop.push(12, queue_name, id="1")
    mover.run()
    assert mover.wait() == 5
    store = shop.delays.store
    assert store is not None
    [waiting] = store.waiting(shop.delays.broker, queue_name)
    store.forget(shop.delays.broker, [waiting.id])
    store.put(shop.delays.broker, [(waiting, 0.5)])
    mover.run()
    assert 0 < mover.wait() <= 0.5


def test_publish_signals_are_heard_when_the_job_is_dispatched(
    open_shop: OpenShop, redis_url: str, queue_name: str
) -> None:
    """Tracing libraries write the sender's trace into the headers there."""
    shop = open_shop(redis_url, redis_url)

    def trace(headers: dict[str, Any], **_: Any) -> None:
        headers["traceparent"] = "00-1"

    signals.before_task_publish.connect(trace)
    try:
        shop.push(0.1, queue_name, id="1")
    finally:
        signals.before_task_publish.disconnect(trace)
    [message] = wait_and_move(shop, queue_name)
    assert message.headers["traceparent"] == "00-1"


def test_task_sent_events_go_out_when_the_job_is_dispatched(
    open_shop: OpenShop, amqp_url: str, redis_url: str, queue_name: str
) -> None:
    shop = open_shop(amqp_url, redis_url)
    shop.app.conf.task_send_sent_event = True
    seen: list[Any] = []
    with shop.app.connection_for_read() as connection:
        receiver = shop.app.events.Receiver(connection, handlers={"task-sent": seen.append})
        with receiver.consumer_context() as (listening, _, _):
            shop.push(0.1, queue_name, id="1")
            while not seen:
                listening.drain_events(timeout=10)
    assert [event["uuid"] for event in seen] == ["1"]
    assert len(wait_and_move(shop, queue_name)) == 1
