from __future__ import annotations

import logging
from typing import Any

import pytest

from laraq import Laraq
from laraq.limits.limits import Limit, RateLimiter
from laraq.messages.options import WorkerOptions
from laraq.middleware import RateLimited, Release, Skip, ThrottlesExceptions, WithoutOverlapping
from tests.middleware.conftest import Deliver
from tests.middleware.works import work


@pytest.fixture(autouse=True)
def limiter() -> None:
    RateLimiter.for_("wide", lambda job: Limit.per_day(1000))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


RELEASING: list[Any] = [RateLimited("wide"), WithoutOverlapping("k"), ThrottlesExceptions(3, 5), Release.when(False)]


@pytest.mark.parametrize("middleware", RELEASING, ids=lambda one: type(one).__name__)
def test_a_job_with_one_try_that_may_be_released_is_warned_about_once(
    deliver: Deliver, caplog: pytest.LogCaptureFixture, middleware: Any
) -> None:
    cls = work(middleware, tries=1)
    for _ in range(3):
        deliver(cls)
    [warning] = warnings(caplog)
    assert warning.startswith(f"{cls.job_name()} has tries = 1, and {type(middleware).__name__} may release it")


def test_the_tries_of_the_worker_count_where_the_class_says_nothing(
    queue: Laraq, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    queue.worker = WorkerOptions(tries=3)
    deliver(work(RateLimited("wide"), tries=None))
    assert warnings(caplog) == []
    queue.worker = WorkerOptions(tries=1)
    deliver(work(RateLimited("wide"), tries=None))
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("middleware", "options"),
    [
        (RateLimited("wide").dont_count(), {}),
        (WithoutOverlapping("k").dont_count(), {}),
        (ThrottlesExceptions(3, 5).dont_count(), {}),
        (RateLimited("wide").dont_release(), {}),
        (WithoutOverlapping("k").dont_release(), {}),
        (Skip.when(False), {}),
        (RateLimited("wide"), {"tries": 2}),
        (RateLimited("wide"), {"tries": 0}),
        (RateLimited("wide"), {"retry_until": 4e9}),
    ],
)
def test_a_job_that_a_release_does_not_end_is_not_warned_about(
    deliver: Deliver, caplog: pytest.LogCaptureFixture, middleware: Any, options: dict[str, Any]
) -> None:
    deliver(work(middleware, **{"tries": 1, **options}))
    assert warnings(caplog) == []


def test_dispatch_sync_is_not_warned_about(queue: Laraq, caplog: pytest.LogCaptureFixture) -> None:
    assert work(RateLimited("wide"), tries=1).dispatch_sync() == "ran"
    assert warnings(caplog) == []
