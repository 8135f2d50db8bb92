"""Middleware, limits and unique jobs"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from laraq import Job, Laraq
from laraq.errors import LimiterNotFoundError, StoreError
from laraq.limits.limits import Limit, RateLimiter
from laraq.messages.delivery import Done, Fail, Obstacle, Release
from laraq.middleware import FailOnException, RateLimited, Skip, ThrottlesExceptions, WithoutOverlapping
from tests.parity.conftest import Deliver

parity = pytest.mark.parity

AGES = 1e9
log: list[str] = []


class Works(Job):
    """Does what its class attributes say."""

    tries = 10
    around: ClassVar[list[Any]] = []
    error: ClassVar[Any] = None

    def middleware(self) -> list[Any]:
        return list(type(self).around)

    def handle(self) -> str:
        log.append("ran")
        if type(self).error is not None:
            raise type(self).error
        return "ran"


def works(monkeypatch: pytest.MonkeyPatch, *middleware: Any, error: Exception | None = None) -> Job:
    monkeypatch.setattr(Works, "around", list(middleware))
    monkeypatch.setattr(Works, "error", error)
    return Works()


@pytest.fixture(autouse=True)
def limiters(monkeypatch: pytest.MonkeyPatch) -> None:
    log.clear()
    monkeypatch.setattr(RateLimiter, "_callbacks", {})
    RateLimiter.for_("one", lambda job: Limit(1, AGES))


@parity("RateLimited releases a job that is over its limit; `dont_release` ends it as a success without a run.")
def test_rate_limited(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deliver(works(monkeypatch, RateLimited("one"))).verdict == Done("ran")
    assert isinstance(deliver(works(monkeypatch, RateLimited("one"))).verdict, Release)
    assert deliver(works(monkeypatch, RateLimited("one").dont_release())).verdict == Done(None)
    assert log == ["ran"]


@parity(
    "WithoutOverlapping keeps a second job of the class and key out, and frees the lock whatever becomes of the run."
)
def test_without_overlapping(deliver: Deliver, queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    overlapping = WithoutOverlapping("k").shared()
    queue.store.locks.acquire("overlap:k", "another", 60)
    assert deliver(works(monkeypatch, overlapping)).verdict == Release(0)
    queue.store.locks.force_release("overlap:k")
    deliver(works(monkeypatch, overlapping, error=ValueError()))
    assert queue.store.locks.owner("overlap:k") is None


@parity("ThrottlesExceptions swallows exceptions, and at its limit does not run the job until its minutes are over.")
def test_throttles_exceptions(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        verdict = deliver(works(monkeypatch, ThrottlesExceptions(2, 5), error=ValueError())).verdict
        assert isinstance(verdict, Release)
    assert log == ["ran", "ran"]


@parity("FailOnException fails a job at these exceptions, whatever tries are left.")
def test_fail_on_exception(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    error = KeyError()
    assert deliver(works(monkeypatch, FailOnException([KeyError]), error=error)).verdict == Fail(error)


@parity("`through` adds middleware to one job when it is dispatched.")
def test_through(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deliver(works(monkeypatch).through([Skip.when(True)])).verdict == Done(None)
    assert log == []


@parity(
    "`park` lets a job that may not run yet wait in the store, without using an attempt.",
    differs="Laravel only polls: a thousand jobs behind one lock are released until each finds it free.",
)
def test_park(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(works(monkeypatch, RateLimited("one").park()))
    verdict = deliver(works(monkeypatch, RateLimited("one").park())).verdict
    assert isinstance(verdict, Release)
    assert isinstance(verdict.obstacle, Obstacle)
    assert not verdict.counted


@parity(
    "All limits of a limiter are taken, or none.",
    differs="In Laravel a limit that admits the job is used up even if the next one rejects it (until #61449).",
)
def test_all_or_none(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    RateLimiter.for_("two", lambda job: [Limit(5, AGES).by("wide"), Limit(0, AGES).by("closed")])
    deliver(works(monkeypatch, RateLimited("two")))
    assert RateLimiter.attempts("limiter:two:wide") == 0


@parity(
    "An undefined limiter is rejected at dispatch.",
    differs="Laravel runs such a job without any limit.",
)
def test_unknown_limiter(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimiterNotFoundError):
        works(monkeypatch, RateLimited("on")).dispatch()


@parity(
    "The lock of WithoutOverlapping ends by itself, 30 s after the job's timeout or after 24 h.",
    differs="In Laravel it never expires unless `expireAfter` is set: a killed worker blocks its key forever.",
)
def test_lock_ends(deliver: Deliver, queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    leases: list[float] = []
    acquire = queue.store.locks.acquire
    monkeypatch.setattr(
        queue.store.locks,
        "acquire",
        lambda key, owner, seconds, slots=1: (leases.append(seconds), acquire(key, owner, seconds, slots))[1],
    )
    monkeypatch.setattr(Works, "timeout", 60)
    deliver(works(monkeypatch, WithoutOverlapping("k")))
    assert leases == [90]


@parity(
    "With `dont_count` a release by middleware does not use an attempt.",
    differs="In Laravel every release uses one, so jobs that wait for a slot need many tries.",
)
def test_dont_count(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(works(monkeypatch, RateLimited("one")))
    verdict = deliver(works(monkeypatch, RateLimited("one").dont_count())).verdict
    assert isinstance(verdict, Release)
    assert not verdict.counted


@parity(
    "Middleware whose store is down releases the job without using an attempt.",
    differs="In Laravel it is an exception of the job, so an outage of Redis fails jobs that never ran.",
)
def test_store_down(deliver: Deliver, queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object) -> None:
        raise StoreError("redis is down")

    monkeypatch.setattr(queue.store.locks, "acquire", down)
    verdict = deliver(works(monkeypatch, WithoutOverlapping("k"))).verdict
    assert isinstance(verdict, Release)
    assert not verdict.counted
    assert log == []
