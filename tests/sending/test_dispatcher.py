from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from celery.result import AsyncResult

from laraq import Bus, Context, Events, Job, Laraq, dispatch, events
from laraq.errors import DispatchError, InvalidJobError
from laraq.messages.payload import Payload


class Place:
    """A connection that keeps what it takes."""

    name = "place"

    immediate = False

    def __init__(self) -> None:
        self.taken: list[tuple[Payload, float]] = []
        self.bulks: list[int] = []
        self.error: Exception | None = None

    def push(self, payload: Payload, delay: float = 0) -> Any:
        if self.error is not None:
            raise self.error
        self.taken.append((payload, delay))

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        self.bulks.append(len(payloads))
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return "place"


class Ship(Job):
    n: int
    express: bool = False

    connection = "place"
    queue = "ships"
    tags = ["a"]

    def handle(self) -> None: ...


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture(autouse=True)
def queue(place: Place) -> Iterator[Laraq]:
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections={"place": place, "other": Place()}) as queue:
        yield queue


def test_dispatch_has_sent_when_it_returns(place: Place) -> None:
    sent = Ship.dispatch(1, express=True)
    [(payload, delay)] = place.taken
    assert (payload.id, payload.job, payload.fields) == (sent.id, Ship.job_name(), {"n": 1, "express": True})
    assert (payload.queue, payload.connection, payload.attempts, delay) == ("ships", "place", 0, 0)
    assert not sent.skipped
    assert UUID(sent.id).version == 4


def test_a_payload_is_plain_json(place: Place) -> None:
    with Context.scope({"request": "r-1"}):
        job = Ship(1)
        job.timeout, job.backoff = timedelta(minutes=1), [timedelta(seconds=1), 2]
        job.dispatch()
    data = place.taken[0][0].to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["laraq"]["options"] == {"timeout": 60, "backoff": [1, 2]}
    assert data["laraq"]["context"] == {"request": "r-1"}


def test_tags_travel_from_class_method_and_instance(place: Place) -> None:
    class Tagged(Ship):
        def tags(self) -> list[str]:  # type: ignore[override] # an option may be a method
            return [f"n:{self.n}"]

    Ship(1).dispatch()
    Tagged(2).dispatch()
    Ship(3).with_tags("x", "y").dispatch()
    assert [payload.tags for payload, _ in place.taken] == [("a",), ("n:2",), ("x", "y")]


@pytest.mark.parametrize(
    ("delay", "seconds"), [(5, 5), (1.5, 1.5), (timedelta(minutes=1), 60), (-3, 0), (0, 0)], ids=str
)
def test_a_delay_is_given_to_the_connection_in_seconds(place: Place, delay: Any, seconds: float) -> None:
    Ship(1).with_delay(delay).dispatch()
    assert place.taken[0][1] == seconds


def test_a_delay_may_be_a_moment(place: Place) -> None:
    Ship(1).with_delay(datetime.now(UTC) + timedelta(hours=1)).dispatch()
    assert 3590 < place.taken[0][1] <= 3600


def test_a_delay_until_a_moment_without_timezone_is_refused(place: Place) -> None:
    with pytest.raises(ValueError, match="timezone"):
        Ship(1).with_delay(datetime(2030, 1, 1)).dispatch()
    assert place.taken == []


def test_the_delay_of_the_class_can_be_taken_back(place: Place) -> None:
    class Later(Ship):
        countdown = 60

    Later(1).dispatch()
    Later(2).without_delay().dispatch()
    assert [delay for _, delay in place.taken] == [60, 0]


def test_fields_of_the_wrong_type_send_nothing_and_tell_nobody(place: Place) -> None:
    heard: list[Any] = []
    with Events.listening(events.Event, heard.append), pytest.raises(InvalidJobError, match="n\n"):
        Ship.dispatch("one")  # type: ignore[arg-type] # that is the point
    assert (place.taken, heard) == ([], [])


def test_a_broker_that_is_down_is_told_and_nothing_was_queued(place: Place) -> None:
    place.error = DispatchError("down")
    heard: list[Any] = []
    with Events.listening(events.JobQueued, heard.append), pytest.raises(DispatchError, match="down"):
        Ship.dispatch(1)
    assert heard == []


def test_dispatch_if_and_unless_build_the_job_only_when_it_is_sent(place: Place) -> None:
    assert Ship.dispatch_if(False, "not even validated") is None  # type: ignore[arg-type] # that is the point
    assert Ship.dispatch_unless(True, "not even validated") is None  # type: ignore[arg-type] # that is the point
    assert Ship.dispatch_if(True, 1) is not None
    assert Ship.dispatch_unless(False, 2) is not None
    assert [payload.fields["n"] for payload, _ in place.taken] == [1, 2]


class Prepared(Ship):
    def prepare_for_dispatch(self) -> bool | None:
        self.n += 1
        return self.n < 10


def test_prepare_for_dispatch_may_change_the_job_or_cancel_it(place: Place) -> None:
    assert not Prepared.dispatch(1).skipped
    cancelled = Prepared.dispatch(9)
    assert cancelled.skipped
    assert [payload.fields["n"] for payload, _ in place.taken] == [2]


def test_prepare_for_dispatch_cancels_at_every_door(place: Place) -> None:
    with Events.listening(events.JobQueueing, lambda event: pytest.fail("it was told")):
        assert Bus.bulk([Prepared(9)])[0].skipped
        assert Prepared.dispatch_sync(9) is None
        assert dispatch(Prepared(9)).skipped
    assert place.taken == []


def test_bulk_sends_one_group_per_connection_and_answers_in_order(place: Place) -> None:
    sent = Bus.bulk([Ship(1), Ship(2).on_connection("other"), Prepared(9), Ship(3).with_delay(5)])
    assert place.bulks == [2]
    assert [(payload.fields["n"], delay) for payload, delay in place.taken] == [(1, 0), (3, 5)]
    assert [each.skipped for each in sent] == [False, False, True, False]
    assert len({each.id for each in sent}) == 4
    assert place.taken[1][0].id == sent[3].id


def test_bulk_sends_nothing_when_one_job_is_invalid(place: Place) -> None:
    with pytest.raises(InvalidJobError):
        Bus.bulk([Ship(1), Ship("two")])  # type: ignore[arg-type] # that is the point
    assert place.taken == []


def test_adispatch_sends_without_blocking_the_event_loop(place: Place) -> None:
    async def main() -> Any:
        return await Ship.adispatch(1), await Ship(2).on_queue("high").adispatch()

    first, second = asyncio.run(main())
    assert [payload.id for payload, _ in place.taken] == [first.id, second.id]
    assert place.taken[1][0].queue == "high"


def test_what_celery_must_know_goes_to_the_carrier(place: Place) -> None:
    job = Ship(1).with_priority(9).expires_at(60)
    job.ignore_result = True
    job.dispatch()
    assert place.taken[0][0].carrier == {"priority": 9, "expires": 60, "ignore_result": True}


def test_the_moment_of_the_dispatch_travels(place: Place) -> None:
    before = time.time()
    Ship.dispatch(1)
    created_at = place.taken[0][0].created_at
    assert created_at is not None
    assert before <= created_at <= time.time()


def test_two_dispatches_of_one_instance_are_two_jobs(place: Place) -> None:
    job = Ship(1)
    assert job.dispatch().id != job.dispatch().id


def test_the_result_of_a_dispatch_is_celery_s(place: Place) -> None:
    sent = Ship.dispatch(1)
    assert isinstance(sent.result, AsyncResult)
    assert sent.result.id == sent.id


def test_the_result_of_a_dispatch_to_sync_is_celery_s_as_well() -> None:
    class Adds(Job):
        def handle(self) -> int:
            return 5

    sent = Adds().on_connection("sync").dispatch()
    assert isinstance(sent.result, AsyncResult)


def test_an_invalid_job_is_refused_by_dispatch_sync_too() -> None:
    with pytest.raises(InvalidJobError):
        Ship.dispatch_sync("one")  # type: ignore[arg-type] # that is the point
