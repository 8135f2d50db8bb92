"""What `.park()` makes of a refusal."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from laraq import Events, Laraq, events
from laraq.errors import ConfigurationError, ReleasedInSyncError
from laraq.limits.limits import Limit, RateLimiter
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Crash, Delivery, Done, Obstacle, Release
from laraq.messages.payload import Payload
from laraq.middleware import RateLimited, RateLimitedWithRedis, WithoutOverlapping
from laraq.middleware.refusing import UNPARKED
from laraq.ports import Demand
from tests.middleware.conftest import Deliver, attached
from tests.middleware.works import raises, work

AGES = 1e9
DEMAND = Demand("limiter:reports:", 1, AGES)


@pytest.fixture
def queue() -> Iterator[Laraq]:
    with attached(MemoryStore()) as queue:
        yield queue


@pytest.fixture(autouse=True)
def one_in_ages() -> None:
    RateLimiter.for_("reports", lambda job: Limit(1, AGES))
    RateLimiter.for_("free", lambda job: None)


def parked(queue: Laraq, lock: str, id: str) -> None:
    payload = Payload(id, "tests.Other")
    queue.parking.park(Obstacle(lock=lock), payload)


def test_who_overlaps_waits_for_the_lock_and_no_attempt_is_used(
    queue: Laraq, deliver: Deliver, asynchronous: bool
) -> None:
    queue.store.locks.acquire("overlap:k", "another", 60)
    cls = work(WithoutOverlapping("k").shared().park(), asynchronous=asynchronous)
    assert deliver(cls) == Release(UNPARKED, counted=False, obstacle=Obstacle(lock="overlap:k"))


def test_who_is_over_the_limit_waits_for_its_window(deliver: Deliver, asynchronous: bool) -> None:
    cls = work(RateLimited("reports").park(), asynchronous=asynchronous)
    assert deliver(cls) == Done("ran")
    verdict = deliver(cls)
    assert verdict == Release(verdict.delay, counted=False, obstacle=Obstacle(demands=(DEMAND,)))


def test_release_after_is_for_jobs_that_cannot_be_parked(queue: Laraq, deliver: Deliver) -> None:
    queue.store.locks.acquire("overlap:k", "another", 60)
    verdict = deliver(work(WithoutOverlapping("k").shared().release_after(7).park()))
    assert verdict == Release(7, counted=False, obstacle=Obstacle(lock="overlap:k"))


def test_what_is_said_last_of_park_and_dont_release_counts(deliver: Deliver) -> None:
    deliver(work(RateLimited("reports")))
    assert deliver(work(RateLimited("reports").park().dont_release())) == Done(None)
    assert isinstance(deliver(work(RateLimited("reports").dont_release().park())), Release)


def test_a_newcomer_does_not_overtake_those_who_wait(queue: Laraq, deliver: Deliver) -> None:
    cls = work(RateLimited("reports").park())
    deliver(cls)
    queue.parking.park(Obstacle(demands=(DEMAND,)), Payload("waits", "tests.Other"))
    queue.store.limits.clear(DEMAND.key)
    assert isinstance(deliver(cls), Release)
    line = next(iter(queue.store.parking._lines))
    assert deliver(cls, parked={line.text: 1}) == Done("ran")


def test_a_limiter_that_does_not_limit_lets_pass(deliver: Deliver) -> None:
    assert deliver(work(RateLimited("free").park())) == Done("ran")


@pytest.mark.parametrize("error", [None, ValueError()])
def test_who_ends_hands_the_lock_to_the_next(queue: Laraq, deliver: Deliver, error: Exception | None) -> None:
    seen: list[str] = []

    def body(job: object) -> str:
        parked(queue, "overlap:k", "next")
        if error is not None:
            raise error
        return "ran"

    queue.connection().push = lambda payload, delay=0: seen.append(payload.id)  # type: ignore[method-assign] # no broker here
    deliver(work(WithoutOverlapping("k").shared().park(), body=body))
    assert seen == ["next"]
    assert queue.store.locks.owner("overlap:k") == "next"


def test_who_was_lost_hands_the_lock_to_the_next(queue: Laraq, deliver: Deliver) -> None:
    seen: list[str] = []
    queue.connection().push = lambda payload, delay=0: seen.append(payload.id)  # type: ignore[method-assign] # no broker here
    queue.store.locks.acquire("overlap:k", "lost", 60)
    parked(queue, "overlap:k", "next")
    cls = work(WithoutOverlapping("k").shared().park())
    deliver(cls, id="lost", crash=Crash("lost", "killed"))
    assert seen == ["next"]


@pytest.mark.parametrize(("park", "event"), [(True, "JobParked"), (False, "JobReleased"), (None, "JobReleased")])
def test_parking_is_told_as_such_where_it_succeeds(queue: Laraq, park: bool | None, event: str) -> None:
    told: list[str] = []
    queue.store.locks.acquire("overlap:k", "another", 60)
    cls = work(WithoutOverlapping("k").shared().park())
    payload = queue.packer.payload(cls(), "1")
    with Events.listening(events.Event, lambda event: told.append(type(event).__name__)):
        run = queue.runner.run(Delivery(payload, 1, "default", "default"))
        settled = queue.books.settle(run, park=None if park is None else lambda run, obstacle: park)
    assert told == ["JobProcessing", event, "JobAttempted"]
    assert (settled.parked is not None) is bool(park)


def test_there_is_no_warning_of_a_single_try(deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "laraq.middleware"):
        deliver(work(RateLimited("reports").park(), WithoutOverlapping("k").park(), tries=1))
    assert caplog.text == ""


def test_dispatch_sync_has_no_place_to_wait(queue: Laraq) -> None:
    queue.store.locks.acquire("overlap:k", "another", 60)
    with pytest.raises(ReleasedInSyncError):
        work(WithoutOverlapping("k").shared().park()).dispatch_sync()


def test_parking_in_a_store_that_no_worker_looks_into_is_refused(queue: Laraq) -> None:
    elsewhere = RateLimitedWithRedis("reports").connection("redis://elsewhere").park()
    with pytest.raises(ConfigurationError, match="parks in the default store only"):
        work(elsewhere).dispatch()


def test_an_error_of_the_job_is_released_as_ever(deliver: Deliver) -> None:
    error = ValueError()
    assert deliver(work(WithoutOverlapping("k").park(), body=raises(error))) == Release(0, error)
