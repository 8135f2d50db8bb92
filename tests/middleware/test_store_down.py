"""A store that is down while middleware asks it says nothing about the job: the start is given back."""

from __future__ import annotations

from typing import Any

import pytest

from laraq import Laraq
from laraq.errors import StoreError
from laraq.limits.limits import Limit, RateLimiter
from laraq.messages.delivery import Fail, Release
from laraq.middleware import FailOnException, RateLimited, ThrottlesExceptions, WithoutOverlapping
from laraq.running.runner import UNKNOWN_TRIES
from tests.middleware.conftest import Deliver
from tests.middleware.works import raises, work

DOWN = StoreError("redis is down")


class Down:
    """Locks, limits or cache of a server that does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise DOWN


@pytest.fixture(params=["locks", "limits", "cache"])
def middleware(request: pytest.FixtureRequest, queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each middleware that asks the store, whose part of the store is down."""
    RateLimiter.for_("reports", lambda job: Limit(2, 60))
    monkeypatch.setattr(queue.store, f"_{request.param}", Down())
    return {
        "locks": WithoutOverlapping("k"),
        "limits": RateLimited("reports"),
        "cache": ThrottlesExceptions(9, 5).by("k"),
    }[request.param]


def test_a_check_that_could_not_be_made_gives_the_job_back_uncounted(
    deliver: Deliver, middleware: Any, asynchronous: bool
) -> None:
    verdict = deliver(work(middleware, asynchronous=asynchronous, tries=1, max_exceptions=1))
    assert verdict == Release(verdict.delay, DOWN, counted=False)
    assert verdict.delay > 0


@pytest.mark.parametrize("outside", [ThrottlesExceptions(9, 5).by("other"), FailOnException(Exception)])
def test_middleware_outside_takes_it_for_no_exception_of_the_job(
    queue: Laraq, deliver: Deliver, monkeypatch: pytest.MonkeyPatch, outside: Any
) -> None:
    monkeypatch.setattr(queue.store, "_locks", Down())
    assert isinstance(deliver(work(outside, WithoutOverlapping("k"), tries=1)), Release)
    assert queue.store.cache.get("throttles_exceptions:other") is None


def test_it_fails_after_a_while(deliver: Deliver, middleware: Any) -> None:
    assert deliver(work(middleware), returns=UNKNOWN_TRIES - 1) == Fail(DOWN)


def test_a_store_error_of_the_handler_is_the_jobs_own(deliver: Deliver, asynchronous: bool) -> None:
    RateLimiter.for_("wide", lambda job: Limit(1000, 60))
    for middleware in ([], [RateLimited("wide")]):
        assert deliver(work(*middleware, body=raises(DOWN), asynchronous=asynchronous, tries=1)) == Fail(DOWN)
