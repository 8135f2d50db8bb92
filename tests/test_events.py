from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from laraq import Bus, Events, Job, Laraq, events
from laraq.errors import MaxAttemptsExceededError
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Release
from laraq.messages.payload import Payload


class Script(Job):
    step: str

    tries = 2
    backoff = 7

    def handle(self) -> str:
        match self.step:
            case "raise":
                raise ValueError("no")
            case "release":
                self.release(3)
            case "fail":
                self.fail("enough")
            case "delete":
                self.delete()
        return "result"

    def failed(self, error: BaseException | None) -> None:
        order.append("failed()")


order: list[str] = []


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    order.clear()
    connections = {"nowhere": {"driver": "null"}}
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections=connections) as queue:
        yield queue


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    found: list[Any] = []

    def hear(event: events.Event) -> None:
        found.append(event)
        order.append(type(event).__name__)

    with Events.listening(events.Event, hear):
        yield found


def delivery(queue: Laraq, step: str, attempt: int = 1, crash: Crash | None = None) -> Delivery:
    return Delivery(queue.packer.payload(Script(step), str(uuid4())), attempt, "orders", "redis", crash)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("step", "attempt", "crash", "expected"),
    [
        ("return", 1, None, ["JobProcessing", "JobProcessed"]),
        ("delete", 1, None, ["JobProcessing", "JobProcessed"]),
        ("release", 1, None, ["JobProcessing", "JobReleased"]),
        ("raise", 1, None, ["JobProcessing", "JobExceptionOccurred", "JobReleasedAfterException"]),
        ("raise", 2, None, ["JobProcessing", "JobExceptionOccurred", "failed()", "JobFailed"]),
        ("fail", 1, None, ["JobProcessing", "failed()", "JobFailed"]),
        ("return", 3, None, ["JobProcessing", "JobExceptionOccurred", "failed()", "JobFailed"]),
        (
            "return", 1, Crash("timeout", "5 s"),
            ["JobProcessing", "JobTimedOut", "JobExceptionOccurred", "JobReleasedAfterException"],
        ),
        (
            "return", 2, Crash("timeout", "5 s"),
            ["JobProcessing", "JobTimedOut", "JobExceptionOccurred", "failed()", "JobFailed"],
        ),
        (
            "return", 1, Crash("lost", "signal 9"),
            ["JobProcessing", "JobExceptionOccurred", "JobReleasedAfterException"],
        ),
    ],
    ids=["returns", "deleted", "released", "raises", "raises at last", "fails", "too often", "timeout",
         "timeout at last", "lost"],
)  # fmt: skip
def test_a_run_is_told_in_order_and_ends_with_job_attempted(
    queue: Laraq, step: str, attempt: int, crash: Crash | None, expected: list[str]
) -> None:
    run = queue.runner.run(delivery(queue, step, attempt, crash))
    queue.books.settle(run)
    assert order == [*expected, "JobAttempted"]


def test_a_failed_job_is_in_the_store_when_it_is_told(queue: Laraq) -> None:
    found = []
    with Events.listening(events.JobFailed, lambda event: found.append(queue.failed.find(event.id))):
        queue.books.settle(queue.runner.run(delivery(queue, "fail")))
    assert found != [None]


@pytest.mark.parametrize(
    ("step", "verdict"), [("return", Done), ("release", Release), ("raise", Release), ("fail", Fail)]
)
def test_job_attempted_says_how_the_run_ended(queue: Laraq, heard: list[Any], step: str, verdict: type[Any]) -> None:
    queue.books.settle(queue.runner.run(delivery(queue, step)))
    assert isinstance(heard[-1].verdict, verdict)


def test_an_event_says_which_job_where_and_which_start(queue: Laraq, heard: list[Any]) -> None:
    arrives = delivery(queue, "raise", 1)
    queue.books.settle(queue.runner.run(arrives))
    for event in heard:
        assert (event.id, event.name) == (arrives.payload.id, Script.job_name())
        assert (event.queue, event.connection, event.attempts) == ("orders", "redis", 1)
    assert (heard[2].backoff, str(heard[2].error)) == (7, "no")


@pytest.mark.usefixtures("heard")
def test_a_dispatch_is_told_before_and_after() -> None:
    Script("x").on_connection("nowhere").dispatch()
    assert order == ["JobQueueing", "JobQueued"]


def test_what_is_told_of_a_dispatch(heard: list[Any]) -> None:
    job = Script("x").on_connection("nowhere").with_delay(5)
    sent = job.dispatch()
    for event in heard:
        assert (event.id, event.name, event.job, event.delay) == (sent.id, Script.job_name(), job, 5)


def test_every_job_of_a_bulk_is_told(heard: list[Any]) -> None:
    sent = Bus.bulk(Script(step).on_connection("nowhere") for step in "ab")
    assert [event.id for event in heard if isinstance(event, events.JobQueued)] == [each.id for each in sent]


def test_a_listener_that_raises_is_reported_and_stops_nothing(queue: Laraq, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def breaks(event: events.Event) -> None:
        raise RuntimeError("broken listener")

    with Events.listening(events.JobProcessed, breaks), Events.listening(events.JobProcessed, heard.append):
        queue.books.settle(queue.runner.run(delivery(queue, "return")))
    assert "broken listener" in caplog.text
    assert len(heard) == 1


def test_listening_ends_when_it_is_told_to() -> None:
    heard: list[Any] = []
    stop = Events.listen(events.JobQueued, heard.append)
    Script("x").on_connection("nowhere").dispatch()
    stop()
    stop()
    Script("x").on_connection("nowhere").dispatch()
    assert len(heard) == 1


def test_one_listener_on_two_events_is_stopped_on_one_only() -> None:
    heard: list[Any] = []
    stop = Events.listen(events.JobQueueing, heard.append)
    with Events.listening(events.JobQueued, heard.append):
        stop()
        Script("x").on_connection("nowhere").dispatch()
    assert [type(event) for event in heard] == [events.JobQueued]


def test_listening_to_a_parent_hears_its_children_only() -> None:
    heard: list[Any] = []
    with Events.listening(events.SendEvent, heard.append):
        Script("x").on_connection("nowhere").dispatch()
        Events.emit(events.Looping, "worker-1")
    assert [type(event) for event in heard] == [events.JobQueueing, events.JobQueued]


def test_events_defined_by_others_are_heard_by_listeners_of_their_parent() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class OrderSent(events.SendEvent):
        """Somebody's own event."""

    heard: list[Any] = []
    with Events.listening(events.Event, heard.append):

        @dataclasses.dataclass(frozen=True, slots=True)
        class OrderPaid(events.SendEvent):
            """Defined after somebody began to listen."""

        Events.emit(OrderSent, Payload("1", "shop.Order"))
        Events.emit(OrderPaid, Payload("2", "shop.Order"))
    assert [event.id for event in heard] == ["1", "2"]


def kinds(parent: type[events.Event] = events.Event) -> Iterator[type[events.Event]]:
    yield parent
    for child in parent.__subclasses__():
        if child.__module__ == events.__name__:
            yield from kinds(child)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_event_is_a_frozen_dataclass_with_a_docstring(kind: type[events.Event]) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined] # the stubs do not know it
    assert "__doc__" in vars(kind)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("decide", "verdict", "told"),
    [
        (lambda job: job.delete(), Done, ["JobProcessing", "JobProcessed"]),
        (lambda job: job.release(7), Release, ["JobProcessing", "JobReleased"]),
        (lambda job: job.fail("no"), Fail, ["JobProcessing", "failed()", "JobFailed"]),
    ],
)
@pytest.mark.usefixtures("heard")
def test_a_listener_decides_about_a_job_before_its_handler_runs(
    queue: Laraq, decide: Any, verdict: type[Any], told: list[str]
) -> None:
    with Events.listening(events.JobProcessing, lambda event: decide(event.job)):
        run = queue.runner.run(delivery(queue, "raise"))
    queue.books.settle(run)
    assert type(run.verdict) is verdict
    assert order == [*told, "JobAttempted"]


def test_a_job_that_cannot_be_made_is_told_without_it(queue: Laraq) -> None:
    jobs: list[Any] = []
    with Events.listening(events.JobProcessing, lambda event: jobs.append(event.job)):
        queue.runner.run(delivery(queue, "return"))
        queue.runner.run(Delivery(Payload("1", "nowhere.Gone"), 1, "orders", "redis"))
    assert [type(job) for job in jobs] == [Script, type(None)]


def test_a_start_too_many_has_its_error(queue: Laraq) -> None:
    errors: list[Any] = []
    with Events.listening(events.JobExceptionOccurred, lambda event: errors.append(event.error)):
        run = queue.runner.run(delivery(queue, "return", 3))
    assert isinstance(run.verdict, Fail)
    assert errors == [run.verdict.error]
    assert type(errors[0]) is MaxAttemptsExceededError
