"""The parking lot: what is parked is sent before it is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from celery import Celery

from laraq import Job, Laraq
from laraq.errors import DispatchError, StoreError
from laraq.messages.delivery import Obstacle
from laraq.messages.payload import Payload
from laraq.ports import Demand, Line, ParkedJob
from tests.support.waiting import wait_until

LOCK = Obstacle(lock="lock")


class Works(Job):
    n: int = 0

    def handle(self) -> None: ...


class Sent:
    """A connection that keeps what it is given, or is down."""

    immediate = False
    name = "default"

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.down = False

    def push(self, payload: Payload, delay: float = 0) -> None:
        if self.down:
            raise DispatchError("the broker is down")
        self.payloads.append(payload)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return "default"


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Laraq]:
    with Laraq(Celery("shop", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


@pytest.fixture
def sent(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    queue.configure_connections({queue.settings.default: sent})
    return sent


def payload(queue: Laraq, id: str, **changes: Any) -> Payload:
    return queue.packer.payload(Works(7), id).with_(**changes)


def test_who_is_called_is_sent_as_it_was_and_says_where_it_stood(queue: Laraq, sent: Sent) -> None:
    queue.store.locks.acquire("lock", "holder", 60)
    parked = payload(queue, "a", attempts=2, uncounted=1, carrier={"priority": 3})
    queue.parking.park(LOCK, parked)
    assert sent.payloads == []
    assert queue.parking.free("lock", "holder") is True
    (again,) = sent.payloads
    (place,) = again.parked.values()
    assert again == parked.with_(parked={Line(queue.host.label, "lock").text: place})
    assert again.carrier == {"priority": 3}
    assert queue.store.locks.owner("lock") == "a"


def test_who_comes_back_keeps_its_place(queue: Laraq, sent: Sent) -> None:
    queue.store.locks.acquire("lock", "holder", 60)
    queue.parking.park(LOCK, payload(queue, "a"))
    queue.parking.free("lock", "holder")
    queue.store.locks.force_release("lock")
    queue.store.locks.acquire("lock", "holder", 60)
    queue.parking.park(LOCK, payload(queue, "b"))
    queue.parking.park(LOCK, sent.payloads.pop())
    queue.parking.free("lock", "holder")
    assert [payload.id for payload in sent.payloads] == ["a"]


def test_a_newcomer_is_behind_those_who_wait(queue: Laraq, sent: Sent) -> None:
    obstacle = Obstacle(demands=(Demand("limit", 1, 1e9),))
    newcomer = payload(queue, "b")
    assert queue.parking.is_behind(obstacle, newcomer) is False
    queue.store.limits.take(obstacle.demands)
    queue.parking.park(obstacle, payload(queue, "a"))
    assert queue.parking.is_behind(obstacle, newcomer) is True
    line = Line(queue.host.label, None, ("limit",))
    assert queue.parking.is_behind(obstacle, newcomer.with_(parked={line.text: 1})) is False


def test_what_cannot_be_sent_stays_and_is_called_again(
    queue: Laraq, sent: Sent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue.store.parking, "call_again", 0.05)
    queue.store.locks.acquire("lock", "holder", 60)
    queue.parking.park(LOCK, payload(queue, "a"))
    sent.down = True
    assert queue.parking.free("lock", "holder") is True
    assert "A parked job could not be sent and stays parked for now: the broker is down" in caplog.text
    sent.down = False
    wait_until(lambda: queue.parking.send_due() is None or sent.payloads)
    assert [payload.id for payload in sent.payloads] == ["a"]


def test_what_was_sent_and_cannot_be_forgotten_is_sent_again(
    queue: Laraq, sent: Sent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(jobs: Sequence[ParkedJob]) -> None:
        raise StoreError("redis is down")

    monkeypatch.setattr(queue.store.parking, "call_again", 0.05)
    queue.store.locks.acquire("lock", "holder", 60)
    queue.parking.park(LOCK, payload(queue, "a"))
    with monkeypatch.context() as patch:
        patch.setattr(queue.store.parking, "sent", down)
        queue.parking.free("lock", "holder")
    assert "could not be removed from the store: redis is down" in caplog.text
    wait_until(lambda: (queue.parking.send_due(), len(sent.payloads) == 2)[1])
    assert sent.payloads[0] == sent.payloads[1]


def test_what_is_no_json_is_refused(queue: Laraq) -> None:
    with pytest.raises(ValueError, match="not JSON serializable"):
        queue.parking.park(LOCK, payload(queue, "a", carrier={"link": object()}))


def test_it_says_when_to_look_again(queue: Laraq, sent: Sent) -> None:
    assert queue.parking.send_due() is None
    queue.store.locks.acquire("lock", "holder", 0.3)
    queue.parking.park(LOCK, payload(queue, "a"))
    left = queue.parking.send_due()
    assert left is not None
    assert 0 < left <= 0.3


def test_a_parked_job_is_what_the_failed_store_keeps_too(queue: Laraq, sent: Sent) -> None:
    parked = payload(queue, "a", through=({"class": "shop.Timed", "state": {}},))
    assert Payload.from_dict(json.loads(json.dumps(parked.to_dict()))) == parked


def test_applications_have_lines_of_their_own(queue: Laraq, sent: Sent) -> None:
    queue.store.locks.acquire("lock", "holder", 60)
    queue.parking.park(LOCK, payload(queue, "a"))
    with closing(Celery("other", broker="memory://", set_as_current=False)) as app:
        other = Laraq(app, store=queue.store)
        assert other.parking.free("lock", "holder") is True
    assert sent.payloads == []
