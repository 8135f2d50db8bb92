from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Events, Laraq, Queue, events
from laraq.errors import ConfigurationError
from laraq.orders.board import Order
from laraq.orders.pauses import is_paused
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    app = Celery("t", broker="redis://", set_as_current=False)
    connections: dict[str, Any] = {"mail": {"url": "memory://", "queue": "post"}, "safe": {"driver": "sync"}}
    with Laraq(app, store="memory://", connections=connections) as queue:
        yield queue


@pytest.mark.parametrize(
    ("orders", "paused"),
    [
        ([], False),
        (["paused:mail:high"], True),
        (["paused:mail:low"], False),
        (["paused:other:high"], False),
        (["paused"], True),
        (["restart", "down"], False),
    ],
)
def test_orders_pause_a_queue_of_a_connection_or_all(orders: list[str], paused: bool) -> None:
    assert is_paused({name: Order("t") for name in orders}, "mail", "high") is paused


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (None, "default:celery"),
        ("high", "default:high"),
        ("redis:high", "default:high"),
        ("mail:high", "mail:high"),
        ("mail:", "mail:post"),
        ("mail:a:b", "mail:a:b"),
    ],
)
def test_a_queue_is_paused_by_any_of_its_names(queue: Laraq, name: str | None, place: str) -> None:
    Queue.pause(name)
    assert dict(queue.pauses.all()) == {place: None}
    assert Queue.paused(place)
    assert Queue.resume(name)
    assert not Queue.paused(name)
    assert not Queue.resume(name)


def test_all_queues_are_paused_beside_those_that_are_paused_one_by_one() -> None:
    Queue.pause("high")
    Queue.pause_all()
    assert Queue.paused("mail:low")
    assert Queue.resume_all()
    assert not Queue.resume_all()
    assert [Queue.paused(name) for name in ("high", "mail:low")] == [True, False]


def test_a_pause_for_a_time_ends_by_itself() -> None:
    Queue.pause("high", 0.1)
    assert Queue.paused("high")
    wait_until(lambda: not Queue.paused("high"))


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_pause_needs_a_duration(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"second|duration"):
        Queue.pause("high", seconds)


def test_a_connection_that_keeps_no_jobs_cannot_be_paused() -> None:
    with pytest.raises(ConfigurationError, match="'safe' keeps no jobs"):
        Queue.pause("safe:high")


def test_events_tell_of_each() -> None:
    told: list[events.Event] = []
    with Events.listening(events.Event, told.append):
        Queue.pause("high", 5)
        Queue.resume("high")
        Queue.pause_all()
        Queue.resume_all()
    assert told == [
        events.QueuePaused("default", "high", 5),
        events.QueueResumed("default", "high"),
        events.QueuesPaused(None),
        events.QueuesResumed(),
    ]
