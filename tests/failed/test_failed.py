from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Events, Job, Laraq, events
from laraq.errors import DispatchError, PayloadError, StoreError, StoreRefusedError
from laraq.failed.service import FailedService
from laraq.messages.delivery import Crash, Delivery, Fail
from laraq.messages.failure import FailedJob
from laraq.messages.payload import CIPHER, Payload
from laraq.testing.suite.failed_jobs import failure


class Place:
    """A connection that keeps what it takes."""

    name = "place"

    def __init__(self) -> None:
        self.taken: list[Payload] = []
        self.error: Exception | None = None
        self.during: Any = None

    def push(self, payload: Payload, delay: float = 0) -> Any:
        if self.error is not None:
            raise self.error
        self.taken.append(payload)
        if self.during is not None:
            self.during(payload)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None: ...

    def default_queue(self) -> str:
        return "celery"


class Breaks(Job):
    n: int

    tags = ["a"]

    def handle(self) -> None:
        raise ValueError(f"no {self.n}")


class Other(Breaks):
    pass


class Dated(Breaks):
    def retry_until(self) -> timedelta:
        return timedelta(hours=1)


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture(autouse=True)
def queue(place: Place) -> Iterator[Laraq]:
    app = Celery("t", broker="memory://", set_as_current=False)
    connections: dict[str, Any] = {"place": place, "default": place}
    keys = [Fernet.generate_key().decode()]
    with Laraq(app, store="memory://", connections=connections, keys=keys) as queue:
        yield queue


def fail(queue: Laraq, job: Job, id: str = "1", *, on: str = "place", to: str = "orders", **changes: Any) -> FailedJob:
    payload = queue.packer.payload(job, id).with_(**changes)
    run = queue.runner.run(Delivery(payload, 1, to, on))
    queue.books.settle(run)
    failed = queue.failed.find(id)
    assert failed is not None
    return failed


def test_a_retried_job_goes_where_it_failed_as_if_it_was_never_started(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5), attempts=2, exceptions=2)
    assert queue.failed.retry("1") == ["1"]
    [payload] = place.taken
    assert (payload.id, payload.fields, payload.tags) == ("1", {"n": 5}, ("a",))
    assert (payload.queue, payload.connection) == ("orders", "place")
    assert (payload.attempts, payload.exceptions, payload.last_error) == (0, 0, None)
    assert queue.failed.find("1") is None


def test_a_retried_job_has_a_journal_entry_of_its_own(queue: Laraq, place: Place) -> None:
    first = fail(queue, Breaks(5))
    queue.failed.retry("1")
    assert place.taken[0].run_key != Payload.from_dict(first.payload).run_key


def test_a_retried_job_of_the_default_connection_goes_to_the_default_connection(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5), on="default")
    queue.failed.retry("1")
    assert place.taken[0].connection is None


def test_options_and_context_of_the_dispatch_are_kept(queue: Laraq, place: Place) -> None:
    job = Breaks(5)
    job.tries, job.priority = 1, 9
    fail(queue, job, context={"request": "r-1"})
    queue.failed.retry("1")
    [payload] = place.taken
    assert (payload.options, payload.context, payload.carrier) == ({"tries": 1}, {"request": "r-1"}, {"priority": 9})


def test_retry_until_is_computed_anew_by_the_job(queue: Laraq, place: Place) -> None:
    fail(queue, Dated(5), retry_until=time.time() - 1)
    queue.failed.retry("1")
    until = place.taken[0].retry_until
    assert until is not None
    assert 3590 < until - time.time() <= 3600


def test_retry_until_of_an_instance_becomes_the_same_length_from_now(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5), created_at=1000.0, retry_until=1060.0)
    queue.failed.retry("1")
    until = place.taken[0].retry_until
    assert until is not None
    assert 50 < until - time.time() <= 60


def test_a_job_without_retry_until_gets_none(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5))
    queue.failed.retry("1")
    assert place.taken[0].retry_until is None


def test_a_job_whose_class_is_gone_can_be_retried(queue: Laraq, place: Place) -> None:
    payload = Payload("1", "shop.jobs.Gone", {"n": 1}, created_at=1000.0, retry_until=1060.0)
    queue.failed.record(FailedJob("1", "place", "orders", payload.job, payload.to_dict(), "x", datetime.now(UTC)))
    assert queue.failed.retry("1") == ["1"]
    assert place.taken[0].job == "shop.jobs.Gone"


def test_the_record_goes_only_after_the_broker_has_the_job(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5))
    seen = []
    place.during = lambda payload: seen.append(queue.failed.find(payload.id))
    queue.failed.retry("1")
    assert seen != [None]


def test_a_retry_that_the_broker_refused_loses_nothing(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5))
    place.error = DispatchError("down")
    with pytest.raises(DispatchError):
        queue.failed.retry("1")
    assert queue.failed.find("1") is not None


def test_a_job_that_fails_again_at_once_keeps_its_new_record(queue: Laraq, place: Place) -> None:
    fail(queue, Breaks(5))

    def fails_again(payload: Payload) -> None:
        queue.books.settle(queue.runner.run(Delivery(payload, 1, "orders", "place")))

    place.during = fails_again
    queue.failed.retry("1")
    assert queue.failed.find("1") is not None


def test_one_several_all_and_those_of_a_queue_can_be_retried(queue: Laraq) -> None:
    for id in "12345":
        fail(queue, Breaks(int(id)), id, to="odd" if int(id) % 2 else "even")
    assert queue.failed.retry(["2", "nobody", "4"]) == ["2", "4"]
    assert queue.failed.retry(["1", "3"], queue="even") == []
    assert sorted(queue.failed.retry("all", queue="odd")) == ["1", "3", "5"]
    assert not queue.failed.all()
    assert queue.failed.retry("all") == []


def test_a_job_called_all_is_not_mistaken_for_all_jobs(queue: Laraq) -> None:
    fail(queue, Breaks(1), "1")
    fail(queue, Breaks(2), "2")
    assert queue.failed.retry(["all"]) == []
    assert len(queue.failed.all()) == 2


def test_a_message_that_could_never_be_read_is_not_retried(queue: Laraq, place: Place) -> None:
    run = queue.runner.run(
        Delivery(Payload("1", Breaks.job_name()), 1, "orders", "place", Crash("broken", "no JSON", raw="/w=="))
    )
    queue.books.settle(run)
    with pytest.raises(PayloadError, match="1 cannot be retried"):
        queue.failed.retry("1")
    assert queue.failed.find("1") is not None
    assert place.taken == []


def test_one_unreadable_message_does_not_keep_the_others_from_being_retried(queue: Laraq, place: Place) -> None:
    for id, raw in (("1", None), ("2", "/w=="), ("3", None)):
        fields = {} if raw else {"n": 1}
        crash = Crash("broken" if raw else "lost", "x", raw=raw)
        queue.books.settle(
            queue.runner.run(Delivery(Payload(id, Breaks.job_name(), fields), 1, "orders", "place", crash))
        )
    with suppress(PayloadError):
        queue.failed.retry("all")
    assert sorted(payload.id for payload in place.taken) == ["1", "3"]


def test_a_retry_is_told(queue: Laraq) -> None:
    fail(queue, Breaks(5))
    heard: list[events.JobRetryRequested] = []
    with Events.listening(events.JobRetryRequested, heard.append):
        queue.failed.retry("1")
    assert [(event.id, event.name) for event in heard] == [("1", Breaks.job_name())]


def test_an_encrypted_job_stays_encrypted_in_the_record_and_can_be_retried(queue: Laraq, place: Place) -> None:
    class Charge(Breaks):
        encrypted = True

        def handle(self) -> None:
            raise ValueError("declined" if self.n == 4111 else "other fields")

    failed = fail(queue, Charge(4111))
    assert "4111" not in repr(failed.payload)
    queue.failed.retry("1")
    assert list(place.taken[0].fields) == [CIPHER]
    again = queue.runner.run(Delivery(place.taken[0], 1, "orders", "place")).verdict
    assert isinstance(again, Fail)
    assert str(again.error) == "declined"


def test_records_are_listed_newest_first_and_found_by_what_they_say(queue: Laraq) -> None:
    fail(queue, Breaks(1), "1", to="low")
    fail(queue, Other(2), "2", to="high")
    assert [failed.id for failed in queue.failed.all()] == ["2", "1"]
    assert [failed.id for failed in queue.failed.all("low")] == ["1"]
    assert [failed.id for failed in queue.failed.all(job=Other.job_name())] == ["2"]
    assert [failed.id for failed in queue.failed.all(tag="a", limit=1)] == ["2"]


def test_a_record_can_be_forgotten_once(queue: Laraq) -> None:
    fail(queue, Breaks(1))
    assert queue.failed.forget("1")
    assert not queue.failed.forget("1")


def old(queue: Laraq, id: str, hours: float) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours)
    queue.failed.record(FailedJob(id, "place", "orders", "shop.X", {"id": id}, "x", at))


def test_flush_drops_all_or_the_old_ones(queue: Laraq) -> None:
    for id, hours in (("1", 0), ("2", 5), ("3", 30)):
        old(queue, id, hours)
    assert queue.failed.flush(hours=10) == 1
    assert queue.failed.flush() == 2


def test_prune_drops_what_is_older_than_a_day(queue: Laraq) -> None:
    for id, hours in (("1", 0), ("2", 23), ("3", 25)):
        old(queue, id, hours)
    assert queue.failed.prune() == 1
    assert queue.failed.prune(hours=1) == 1
    assert [failed.id for failed in queue.failed.all()] == ["1"]


class Choosy:
    """A failed store that takes no message, as one whose packets are too small."""

    def __init__(self, jobs: Any, error: Exception) -> None:
        self._jobs = jobs
        self._error = error

    def record(self, failed: FailedJob) -> None:
        if "shortened" not in failed.payload:
            raise self._error
        self._jobs.record(failed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)


def service(queue: Laraq, error: Exception) -> FailedService:
    jobs: Any = Choosy(queue.failed.jobs, error)
    return FailedService(jobs, queue.dispatcher, queue.codec, queue.unique, lambda: queue.batches, "default")


@pytest.mark.parametrize("error", [StoreRefusedError("too large"), TypeError("no JSON"), OverflowError("too large")])
def test_a_record_no_store_takes_is_kept_without_its_message(queue: Laraq, error: Exception) -> None:
    service(queue, error).record(failure("a" * 300 + "\0", attempts=2**40, exception="x\udc80" * 10**6))
    [kept] = queue.failed.all()
    assert (len(kept.id), kept.attempts, kept.payload["job"]) == (255, 2**31 - 1, "shop.jobs.Charge")
    assert "characters left out" in kept.exception
    assert str(error) in kept.payload["shortened"]
    with pytest.raises(PayloadError, match="the store refused its message"):
        queue.failed.retry(kept.id)
    assert queue.failed.retry("all") == []


def test_an_outage_of_the_failed_store_is_told(queue: Laraq) -> None:
    with pytest.raises(StoreError, match="away"):
        service(queue, StoreError("away")).record(failure())


def test_of_a_long_text_beginning_and_end_are_kept(queue: Laraq) -> None:
    queue.failed.record(failure(exception="begins" + "x" * 20_000_000 + "ends"))
    [kept] = queue.failed.all()
    assert len(kept.exception) < 1_000_100
    assert kept.exception.startswith("begins")
    assert kept.exception.endswith("ends")
    assert "19000010 characters left out" in kept.exception
