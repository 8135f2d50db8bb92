"""Running, failing and retrying"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from laraq import Events, Job, Laraq, Queue, events
from laraq.errors import DispatchError, ManuallyFailedError
from laraq.messages.delivery import Delivery, Done, Fail, Release
from laraq.messages.failure import FailedJob
from laraq.messages.payload import Payload
from laraq.running.runner import UNKNOWN_TRIES
from tests.parity.conftest import Deliver

parity = pytest.mark.parity
log: list[Any] = []


class Breaks(Job):
    n: int = 0

    def handle(self) -> None:
        self.n = 99
        raise ValueError("no")

    def failed(self, error: BaseException | None) -> None:
        log.append((self.n, str(error)))


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def middleware(name: str) -> Any:
    def handle(job: Any, next: Any) -> Any:
        log.append(f"{name} in")
        try:
            return next(job)
        finally:
            log.append(f"{name} out")

    return handle


@parity("Middleware wraps `handle`, the first one outermost.")
def test_middleware_order(deliver: Deliver) -> None:
    class Wrapped(Job):
        def middleware(self) -> list[Any]:
            return [middleware("a"), middleware("b")]

        def handle(self) -> None:
            log.append("handle")

    deliver(Wrapped())
    assert log == ["a in", "b in", "handle", "b out", "a out"]


@parity("A middleware that neither calls `next` nor releases nor fails ends the job as a success.")
def test_skipped_is_success(deliver: Deliver, heard: list[str]) -> None:
    class Skipped(Breaks):
        def middleware(self) -> list[Any]:
            return [lambda job, next: None]

    assert deliver(Skipped()).verdict == Done()
    assert "JobProcessed" in heard


@parity("A middleware may release or fail the job.")
def test_middleware_decides(deliver: Deliver) -> None:
    class Busy(Breaks):
        def middleware(self) -> list[Any]:
            return [lambda job, next: job.release(30)]

    assert deliver(Busy()).verdict == Release(30)


@parity("`handle` gets its parameters from the container.")
def test_injection(queue: Laraq, deliver: Deliver) -> None:
    queue.container.instance(Sender, Sender("bound"))
    assert deliver(Sends()).verdict == Done("bound")


class Sender:
    def __init__(self, name: str) -> None:
        self.name = name


class Sends(Job):
    def handle(self, sender: Sender) -> str:
        return sender.name


@parity("`failed(error)` is called once, on a fresh instance: what `handle` changed on its own is not there.")
def test_failed_hook(deliver: Deliver) -> None:
    deliver(Breaks(1))
    assert log == [(1, "no")]


@parity("`fail()` accepts an exception or a message; a message becomes a ManuallyFailedError.")
def test_fail_by_hand(deliver: Deliver) -> None:
    class Fails(Job):
        def handle(self) -> None:
            self.fail("enough")

    verdict = deliver(Fails()).verdict
    assert isinstance(verdict, Fail)
    assert isinstance(verdict.error, ManuallyFailedError)
    assert str(verdict.error) == "enough"


@parity("A `failed()` that raises does not keep the job from being recorded, or its events from firing.")
def test_broken_failed_hook(queue: Laraq, deliver: Deliver, heard: list[str]) -> None:
    class Worse(Breaks):
        def failed(self, error: BaseException | None) -> None:
            raise RuntimeError("broken hook")

    deliver(Worse())
    assert len(queue.failed.all()) == 1
    assert "JobFailed" in heard


@parity("JobProcessing fires for every delivery, even if the job may not start any more.")
def test_processing_is_told(deliver: Deliver, heard: list[str]) -> None:
    deliver(Breaks(), 2)
    assert heard == ["JobProcessing", "JobExceptionOccurred", "JobFailed", "JobAttempted"]


@parity("After an exception come JobExceptionOccurred and JobReleasedAfterException, with error and backoff.")
def test_exception_events(deliver: Deliver, heard: list[str]) -> None:
    job = Breaks()
    job.tries = 2
    deliver(job)
    assert heard == ["JobProcessing", "JobExceptionOccurred", "JobReleasedAfterException", "JobAttempted"]


@parity(
    "JobProcessed means success; a release fires JobReleased only.",
    differs="Laravel fires JobProcessed after a release and after `fail()`, too.",
)
def test_processed_is_success(deliver: Deliver, heard: list[str]) -> None:
    class Releases(Job):
        def handle(self) -> None:
            self.release()

    deliver(Releases())
    assert heard == ["JobProcessing", "JobReleased", "JobAttempted"]


@parity("`Queue.before`, `after`, `failing` and `exception_occurred` hook into every job.")
def test_hooks(deliver: Deliver) -> None:
    hooks = [hook(log.append) for hook in (Queue.before, Queue.failing, Queue.exception_occurred)]
    deliver(Breaks())
    for remove in hooks:
        remove()
    told = [type(entry) for entry in log if isinstance(entry, events.Event)]
    assert told == [events.JobProcessing, events.JobExceptionOccurred, events.JobFailed]


@parity("A failed job is kept with its connection, queue, payload, exception and time.")
def test_failed_record(queue: Laraq, deliver: Deliver) -> None:
    run = deliver(Breaks(5))
    [kept] = queue.failed.all()
    assert (kept.id, kept.connection, kept.queue) == (run.payload.id, "default", "default")
    assert kept.payload["kwargs"] == {"n": 5}
    assert "ValueError: no" in kept.exception
    assert kept.failed_at <= datetime.now(UTC)


@parity(
    "A failed record also holds class, attempts, tags and batch.",
    differs="Laravel's failed_jobs has only the payload.",
)
def test_failed_record_more(queue: Laraq, deliver: Deliver) -> None:
    deliver(Breaks(5).with_tags("a"), 3, batch_id="b-1")
    [kept] = queue.failed.all()
    assert (kept.job, kept.attempts, kept.tags, kept.batch_id) == (Breaks.job_name(), 3, ("a",), "b-1")


class Place:
    """A connection that keeps what it takes."""

    name = "place"

    def __init__(self, error: Exception | None = None) -> None:
        self.taken: list[Payload] = []
        self.error = error

    def push(self, payload: Payload, delay: float = 0) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(payload)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None: ...

    def default_queue(self) -> str:
        return "celery"


def attached(**connections: Any) -> Laraq:
    app = Celery("u", broker="memory://", set_as_current=False)
    return Laraq(app, store="memory://", connections=connections)


def failed_at(queue: Laraq, job: Job) -> None:
    payload = queue.packer.payload(job, "1").with_(attempts=2, exceptions=1)
    queue.books.settle(queue.runner.run(Delivery(payload, 3, "orders", "place")))


@parity(
    "`retry` sends a failed job again to where it failed, under its uuid, with attempts 0, then forgets the record."
)
def test_retry() -> None:
    place = Place()
    with attached(place=place) as queue:
        failed_at(queue, Breaks(5))
        assert queue.failed.retry("1") == ["1"]
        [payload] = place.taken
        assert (payload.id, payload.queue, payload.attempts, payload.fields) == ("1", "orders", 0, {"n": 5})
        assert queue.failed.find("1") is None


@parity("`retry` computes `retry_until` anew.")
def test_retry_until_again() -> None:
    class Dated(Breaks):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    place = Place()
    with attached(place=place) as queue:
        payload = queue.packer.payload(Dated(), "1").with_(retry_until=1.0)
        queue.books.settle(queue.runner.run(Delivery(payload, 1, "orders", "place")))
        queue.failed.retry("1")
    assert (place.taken[0].retry_until or 0) > datetime.now(UTC).timestamp()


@parity(
    "`retry` starts the count of exceptions anew.",
    differs="Laravel keeps it by uuid for a day, so a retried job can fail at its first exception.",
)
def test_retry_resets_exceptions() -> None:
    place = Place()
    with attached(place=place) as queue:
        failed_at(queue, Breaks(5))
        queue.failed.retry("1")
    assert place.taken[0].exceptions == 0


@parity("`flush(hours)` and `prune(hours)` drop records that are older; `forget` drops one.")
def test_flush_and_prune(queue: Laraq) -> None:
    for id, hours in (("1", 0), ("2", 25), ("3", 100)):
        at = datetime.now(UTC) - timedelta(hours=hours)
        queue.failed.record(FailedJob(id, "c", "q", "shop.X", {}, "x", at))
    assert queue.failed.flush(hours=50) == 1
    assert queue.failed.prune() == 1
    assert queue.failed.forget("1")


@parity(
    "A message of a class this worker does not have goes back to its queue for a while, then fails.",
    differs="Laravel fails it at once, which loses jobs during a deploy.",
)
def test_unknown_class(deliver: Deliver) -> None:
    run = deliver(Payload("1", "shop.jobs.NotDeployedYet"))
    assert isinstance(run.verdict, Release)
    returns = 1
    while isinstance(run.verdict, Release):
        run = deliver(run.payload)
        returns += 1
    assert returns == UNKNOWN_TRIES
    assert isinstance(run.verdict, Fail)


@parity("A failover connection uses the next connection, and fires its event once until the first works again.")
def test_failover(heard: list[str]) -> None:
    down, up = Place(DispatchError("down")), Place()
    safe = {"driver": "failover", "connections": ["down", "up"]}
    with attached(down=down, up=up, safe=safe):
        for n in range(2):
            Breaks(n).on_connection("safe").dispatch()
    assert [payload.fields["n"] for payload in up.taken] == [0, 1]
    assert heard.count("QueueFailedOver") == 1


@parity("When every connection of a failover is down, the last one's error is raised.")
def test_failover_all_down() -> None:
    safe = {"driver": "failover", "connections": ["a", "b"]}
    with (
        attached(a=Place(DispatchError("a")), b=Place(DispatchError("b")), safe=safe),
        pytest.raises(DispatchError, match="b"),
    ):
        Breaks().on_connection("safe").dispatch()


@parity(
    "Listeners that raise are reported and stop nothing.",
    differs="In Laravel an exception of a listener ends the job of its event.",
)
def test_broken_listener(deliver: Deliver) -> None:
    class Fine(Job):
        def handle(self) -> str:
            return "fine"

    def broken(event: events.JobProcessing) -> None:
        raise RuntimeError("broken listener")

    with Events.listening(events.JobProcessing, broken):
        assert deliver(Fine()).verdict == Done("fine")
