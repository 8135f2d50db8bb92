from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Events, Job, Laraq, events
from laraq.errors import ConfigurationError, ConnectionNotFoundError, DispatchError, InvalidJobError
from laraq.messages.payload import Payload


class Place:
    """A connection that keeps what it takes, and can be down."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken: list[tuple[Payload, float]] = []
        self.error: Exception | None = None

    def push(self, payload: Payload, delay: float = 0) -> Any:
        if self.error is not None:
            raise self.error
        self.taken.append((payload, delay))
        return self.name

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return f"queue of {self.name}"


class Ship(Job):
    n: int

    def handle(self) -> None: ...


@pytest.fixture
def first() -> Place:
    return Place("first")


@pytest.fixture
def second() -> Place:
    return Place("second")


@pytest.fixture(autouse=True)
def queue(first: Place, second: Place) -> Iterator[Laraq]:
    connections: dict[str, Any] = {
        "first": first,
        "second": second,
        "safe": {"driver": "failover", "connections": ["first", "second"]},
        "empty": {"driver": "failover", "connections": []},
        "lost": {"driver": "failover", "connections": ["nowhere", "second"]},
    }
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections=connections) as queue:
        yield queue


@pytest.fixture
def failed_over() -> Iterator[list[events.QueueFailedOver]]:
    found: list[events.QueueFailedOver] = []
    with Events.listening(events.QueueFailedOver, found.append):
        yield found


def safely(n: int) -> Ship:
    return Ship(n).on_connection("safe")


def test_the_first_connection_that_takes_the_job_gets_it(
    first: Place, second: Place, failed_over: list[events.QueueFailedOver]
) -> None:
    safely(1).with_delay(5).dispatch()
    [(payload, delay)] = first.taken
    assert (payload.connection, delay) == ("first", 5)
    assert second.taken == []
    assert failed_over == []


def test_the_next_one_gets_it_when_the_first_is_down(
    first: Place, second: Place, failed_over: list[events.QueueFailedOver]
) -> None:
    first.error = DispatchError("down")
    sent = safely(1).dispatch()
    [(payload, _)] = second.taken
    assert (payload.id, payload.connection) == (sent.id, "second")
    assert [(event.connection, event.error, event.id) for event in failed_over] == [("first", first.error, sent.id)]


def test_when_all_are_down_the_last_error_is_raised(first: Place, second: Place) -> None:
    first.error, second.error = DispatchError("first is down"), DispatchError("second is down")
    with pytest.raises(DispatchError, match="second is down"):
        safely(1).dispatch()


def test_failing_over_is_told_once_until_the_connection_works_again(
    first: Place, failed_over: list[events.QueueFailedOver]
) -> None:
    first.error = DispatchError("down")
    safely(1).dispatch()
    safely(2).dispatch()
    assert len(failed_over) == 1
    first.error = None
    safely(3).dispatch()
    first.error = DispatchError("down again")
    safely(4).dispatch()
    assert len(failed_over) == 2


def test_every_job_of_a_bulk_is_sent_once(first: Place, second: Place) -> None:
    first.error = DispatchError("down")
    Bus.bulk(safely(n) for n in range(3))
    assert [payload.fields["n"] for payload, _ in second.taken] == [0, 1, 2]
    assert first.taken == []


def test_a_job_that_no_connection_could_take_is_no_failover(
    first: Place, second: Place, failed_over: list[events.QueueFailedOver]
) -> None:
    first.error = InvalidJobError("shop.Ship", "no JSON")
    with pytest.raises(InvalidJobError):
        safely(1).dispatch()
    assert second.taken == []
    assert failed_over == []


def test_the_default_queue_is_that_of_the_first(queue: Laraq) -> None:
    assert queue.connection("safe").default_queue() == "queue of first"


def test_a_failover_over_nothing_is_refused(queue: Laraq) -> None:
    with pytest.raises(ConfigurationError, match="'empty'"):
        queue.connection("empty")


def test_a_connection_that_is_not_configured_is_refused_by_name() -> None:
    with pytest.raises(ConnectionNotFoundError, match="nowhere"):
        Ship(1).on_connection("lost").dispatch()
