from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from laraq import Laraq, current
from laraq.errors import JobTimedOutError, ReleasedInSyncError, StoreError
from laraq.messages.delivery import Crash, Done, Fail, Release
from laraq.messages.options import WorkerOptions
from laraq.middleware import WithoutOverlapping
from laraq.ports import Locks
from tests.middleware.conftest import Deliver
from tests.middleware.works import raises, work


class Witness:
    """A body that says who holds the lock while it runs, and delivers another job meanwhile."""

    def __init__(self, deliver: Deliver, overlapping: WithoutOverlapping) -> None:
        self._deliver = deliver
        self._overlapping = overlapping
        self.other: Any = None
        self.verdict: Any = None
        self.holder: str | None = None

    def __call__(self, job: Any) -> str:
        self.holder = current().store.locks.owner(self._overlapping.lock_key(job))
        if self.other is not None:
            thread = threading.Thread(target=self._meet)
            thread.start()
            thread.join()
        return "ran"

    def _meet(self) -> None:
        self.verdict = self._deliver(self.other)


def meeting(deliver: Deliver, overlapping: WithoutOverlapping, *, asynchronous: bool = False, **options: Any) -> Any:
    """What becomes of a second job of the class while the first one runs."""
    witness = Witness(deliver, overlapping)
    cls = work(overlapping, body=witness, asynchronous=asynchronous, **options)
    witness.other = work(overlapping, display_name=cls.job_name())
    assert deliver(cls) == Done("ran")
    return witness.verdict


def test_a_second_job_goes_back_at_once(deliver: Deliver, asynchronous: bool) -> None:
    assert meeting(deliver, WithoutOverlapping("k"), asynchronous=asynchronous) == Release(0)


@pytest.mark.parametrize(
    ("modify", "verdict"),
    [
        (lambda one: one.release_after(40), Release(40)),
        (lambda one: one.release_after(timedelta(minutes=1)), Release(60)),
        (lambda one: one.dont_count(), Release(0, counted=False)),
        (lambda one: one.release_after(5).dont_count(), Release(5, counted=False)),
        (lambda one: one.dont_release(), Done(None)),
        (lambda one: one.release_after(5).dont_release(), Done(None)),
    ],
)
def test_modifiers_say_what_becomes_of_it(
    deliver: Deliver, modify: Callable[[WithoutOverlapping], WithoutOverlapping], verdict: Any
) -> None:
    assert meeting(deliver, modify(WithoutOverlapping("k"))) == verdict


def test_the_lock_is_free_after_the_run(deliver: Deliver, asynchronous: bool) -> None:
    cls = work(WithoutOverlapping("k"), asynchronous=asynchronous)
    assert [deliver(cls), deliver(cls)] == [Done("ran"), Done("ran")]


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3), JobTimedOutError("slow")])
def test_the_lock_is_free_after_an_error(deliver: Deliver, asynchronous: bool, error: BaseException) -> None:
    overlapping = WithoutOverlapping("k").shared()
    cls = work(overlapping, body=raises(error), asynchronous=asynchronous, tries=1)
    assert isinstance(deliver(cls), Fail)
    assert deliver(work(overlapping)) == Done("ran")


def test_the_lock_is_held_until_an_async_handler_has_ended(deliver: Deliver) -> None:
    overlapping = WithoutOverlapping("k")
    seen: list[object] = []

    async def handle(self: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0.001)
            seen.append(await asyncio.to_thread(current().store.locks.owner, overlapping.lock_key(self)))

    deliver(work(overlapping, handle=handle), id="the id")
    assert seen == ["the id"] * 3


def test_the_event_loop_goes_on_while_an_async_middleware_is_outside(deliver: Deliver) -> None:
    async def outside(job: Any, next: Any) -> Any:
        return await next(job)

    cls = work(outside, WithoutOverlapping("k"), asynchronous=True)
    assert [deliver(cls), deliver(cls)] == [Done("ran"), Done("ran")]


def test_keys_and_classes_are_apart_unless_they_are_shared() -> None:
    a, b = work(), work()
    named = work(display_name="Named")
    assert WithoutOverlapping("k").lock_key(a()) == f"overlap:{a.job_name()}:k"
    assert WithoutOverlapping().lock_key(a()) == f"overlap:{a.job_name()}:"
    assert WithoutOverlapping(7).lock_key(named()) == "overlap:Named:7"
    assert WithoutOverlapping("k").with_prefix("mine:").lock_key(named()) == "mine:Named:k"
    assert len({WithoutOverlapping("k").shared().lock_key(cls()) for cls in (a, b, named)}) == 1


def test_shared_keys_keep_other_classes_out(deliver: Deliver) -> None:
    overlapping = WithoutOverlapping("k").shared()
    witness = Witness(deliver, overlapping)
    witness.other = work(overlapping)
    deliver(work(overlapping, body=witness))
    assert witness.verdict == Release(0)


def test_other_classes_are_let_in_under_the_same_key(deliver: Deliver) -> None:
    overlapping = WithoutOverlapping("k")
    witness = Witness(deliver, overlapping)
    witness.other = work(overlapping)
    deliver(work(overlapping, body=witness))
    assert witness.verdict == Done("ran")


def test_the_next_start_of_a_job_that_died_inside_goes_in_at_once_and_others_do_not(
    queue: Laraq, deliver: Deliver
) -> None:
    overlapping = WithoutOverlapping("k")
    cls = work(overlapping)
    queue.store.locks.acquire(overlapping.lock_key(cls()), "the id", 60)  # its process is gone
    assert deliver(cls, id="another") == Release(0)
    assert deliver(cls, id="the id", attempt=2) == Done("ran")
    assert deliver(cls, id="another") == Done("ran")


def test_the_lease_of_a_job_that_laraq_retry_sent_again_is_another(queue: Laraq, deliver: Deliver) -> None:
    overlapping = WithoutOverlapping("k")
    cls = work(overlapping)
    queue.store.locks.acquire(overlapping.lock_key(cls()), "the id", 60)
    assert deliver(cls, id="the id", retried=1) == Release(0)


def test_lost_frees_what_a_run_that_died_held(queue: Laraq, deliver: Deliver) -> None:
    overlapping = WithoutOverlapping("k").shared()
    seen: list[Any] = []
    deliver(work(body=seen.append), id="the id")
    [job] = seen
    queue.store.locks.acquire("overlap:k", "another", 60)
    overlapping.lost(job)
    assert queue.store.locks.owner("overlap:k") == "another"
    queue.store.locks.force_release("overlap:k")
    queue.store.locks.acquire("overlap:k", "the id", 60)
    overlapping.lost(job)
    assert queue.store.locks.owner("overlap:k") is None


class Asked:
    """Locks that note for how long they were asked."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self.seconds: list[float] = []

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        self.seconds.append(seconds)
        return self._locks.acquire(key, owner, seconds, slots)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._locks, name)


@pytest.mark.parametrize(
    ("overlapping", "timeout", "worker_timeout", "seconds"),
    [
        (WithoutOverlapping(), None, None, 86400),
        (WithoutOverlapping(), 0, 60, 86400),
        (WithoutOverlapping(), None, 60, 90),
        (WithoutOverlapping(), 100, 60, 130),
        (WithoutOverlapping(), timedelta(minutes=2), None, 150),
        (WithoutOverlapping().expire_after(5), 100, 60, 5),
        (WithoutOverlapping().expire_after(timedelta(minutes=5)), None, None, 300),
    ],
)
def test_a_lease_outlasts_the_timeout_of_the_job(
    queue: Laraq,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
    overlapping: WithoutOverlapping,
    timeout: Any,
    worker_timeout: float | None,
    seconds: float,
) -> None:
    asked = Asked(queue.store.locks)
    monkeypatch.setattr(queue.store, "_locks", asked)
    queue.worker = WorkerOptions(timeout=worker_timeout)
    assert deliver(work(overlapping, timeout=timeout)) == Done("ran")
    assert asked.seconds == [seconds]


@pytest.mark.parametrize("seconds", [0, -1, timedelta(0)])
def test_a_lease_without_an_end_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="positive duration"):
        WithoutOverlapping().expire_after(seconds)


def test_a_run_longer_than_its_lease_frees_nobody_elses_lock_and_says_so(
    queue: Laraq, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    overlapping = WithoutOverlapping("k").shared()

    def outlives(job: Any) -> str:
        queue.store.locks.force_release("overlap:k")
        queue.store.locks.acquire("overlap:k", "another", 60)
        return "ran"

    with caplog.at_level(logging.WARNING, "laraq.middleware"):
        assert deliver(work(overlapping, body=outlives)) == Done("ran")
    assert queue.store.locks.owner("overlap:k") == "another"
    assert "ran longer than its lock 'overlap:k'" in caplog.text


def test_a_store_that_is_down_at_the_end_leaves_the_outcome_alone(
    queue: Laraq, deliver: Deliver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(Asked):
        def release(self, key: str, owner: str) -> bool:
            raise StoreError("redis is down")

    monkeypatch.setattr(queue.store, "_locks", Down(queue.store.locks))
    assert deliver(work(WithoutOverlapping("k"))) == Done("ran")
    assert "could not be released and will expire on its own: redis is down" in caplog.text


def test_a_release_of_a_job_that_dispatch_sync_runs_is_said_to_the_caller(queue: Laraq) -> None:
    overlapping = WithoutOverlapping("k").shared()
    queue.store.locks.acquire("overlap:k", "another", 60)
    with pytest.raises(ReleasedInSyncError):
        work(overlapping).dispatch_sync()


def test_settling_a_crash_takes_no_lock(queue: Laraq, deliver: Deliver) -> None:
    cls = work(WithoutOverlapping("k").shared())
    assert isinstance(deliver(cls, crash=Crash("lost", "killed")), Release)
    assert queue.store.locks.owner("overlap:k") is None
