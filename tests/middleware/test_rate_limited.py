from __future__ import annotations

from datetime import timedelta

import pytest

from laraq import Laraq
from laraq.errors import LimiterNotFoundError
from laraq.limits.limits import Limit, RateLimiter
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Done, Fail, Release
from laraq.middleware import RateLimited, RateLimitedWithRedis
from laraq.middleware.rate_limited import SPREAD
from laraq.ports import Store
from tests.middleware.conftest import Deliver
from tests.middleware.works import raises, work

#: The window must not end while a test runs.
YEAR = 365 * 86400.0


@pytest.fixture
def two_a_year() -> None:
    RateLimiter.for_("reports", lambda job: Limit(2, YEAR))


@pytest.mark.usefixtures("two_a_year")
def test_a_job_runs_as_often_as_the_limiter_allows(deliver: Deliver, asynchronous: bool) -> None:
    cls = work(RateLimited("reports"), asynchronous=asynchronous)
    assert [type(deliver(cls)) for _ in range(4)] == [Done, Done, Release, Release]


@pytest.mark.usefixtures("two_a_year")
def test_what_the_handler_returned_is_the_result(deliver: Deliver, asynchronous: bool) -> None:
    assert deliver(work(RateLimited("reports"), asynchronous=asynchronous)) == Done("ran")


@pytest.mark.usefixtures("two_a_year")
def test_a_refused_job_returns_within_three_seconds_after_the_window(deliver: Deliver) -> None:
    cls = work(RateLimited("reports"))
    verdicts = [deliver(cls) for _ in range(22)][2:]
    left = RateLimiter.available_in("reports")
    waits = [verdict.delay - left for verdict in verdicts if isinstance(verdict, Release)]
    assert len(waits) == 20
    assert all(-0.1 < wait < SPREAD + 2 for wait in waits)
    assert max(waits) - min(waits) > 0.1


@pytest.mark.usefixtures("two_a_year")
@pytest.mark.parametrize("after", [30, timedelta(seconds=30)])
def test_release_after_decides_the_delay(deliver: Deliver, after: int | timedelta) -> None:
    cls = work(RateLimited("reports").release_after(after))
    assert [deliver(cls) for _ in range(3)][2] == Release(30)


@pytest.mark.usefixtures("two_a_year")
def test_release_after_zero_is_as_if_it_were_not_said(deliver: Deliver) -> None:
    cls = work(RateLimited("reports").release_after(0))
    verdict = [deliver(cls) for _ in range(3)][2]
    assert isinstance(verdict, Release)
    assert verdict.delay > 0


@pytest.mark.usefixtures("two_a_year")
def test_dont_release_ends_a_refused_job_as_a_success_that_did_not_run(deliver: Deliver) -> None:
    cls = work(RateLimited("reports").dont_release())
    assert [deliver(cls) for _ in range(3)] == [Done("ran"), Done("ran"), Done(None)]


@pytest.mark.usefixtures("two_a_year")
@pytest.mark.parametrize("counted", [True, False])
def test_dont_count_is_what_makes_a_refusal_cost_no_attempt(deliver: Deliver, counted: bool) -> None:
    limited = RateLimited("reports").release_after(9)
    cls = work(limited if counted else limited.dont_count())
    assert [deliver(cls) for _ in range(3)][2] == Release(9, counted=counted)


@pytest.mark.usefixtures("two_a_year")
def test_a_run_that_fails_has_used_the_limit(deliver: Deliver) -> None:
    cls = work(RateLimited("reports").dont_release(), body=raises(ValueError()), tries=1)
    assert [type(deliver(cls)) for _ in range(3)] == [Fail, Fail, Done]


def test_a_refusal_by_one_limit_takes_nothing_from_the_others(deliver: Deliver) -> None:
    RateLimiter.for_("both", lambda job: [Limit(10, YEAR).by("wide"), Limit(1, YEAR).by("narrow")])
    cls = work(RateLimited("both"))
    assert [type(deliver(cls)) for _ in range(5)] == [Done] + [Release] * 4
    RateLimiter.for_("both", lambda job: Limit(10, YEAR).by("wide"))
    assert RateLimiter.remaining("both") == 9


def test_the_limiter_is_asked_about_the_job(deliver: Deliver) -> None:
    RateLimiter.for_("by owner", lambda job: None if job.vip else Limit(1, YEAR).by(job.owner))

    def owned(owner: str, vip: bool = False) -> type:
        return work(RateLimited("by owner"), owner=owner, vip=vip)

    jobs = [owned("a"), owned("a"), owned("b"), owned("a", vip=True), owned("a", vip=True)]
    assert [type(deliver(job)) for job in jobs] == [Done, Release, Done, Done, Done]


@pytest.mark.usefixtures("two_a_year")
def test_an_unknown_limiter_is_an_error_with_a_suggestion(deliver: Deliver) -> None:
    with pytest.raises(LimiterNotFoundError, match="Did you mean 'reports'"):
        RateLimited("report").check()
    RateLimited("reports").check()
    with pytest.raises(LimiterNotFoundError):  # before anything is sent
        deliver(work(RateLimited("report"), tries=1))


@pytest.mark.usefixtures("two_a_year")
def test_with_redis_counts_in_the_store_it_is_given(deliver: Deliver) -> None:
    elsewhere: Store = MemoryStore()
    cls = work(RateLimitedWithRedis("reports").connection(elsewhere))
    assert [type(deliver(cls)) for _ in range(3)] == [Done, Done, Release]
    assert RateLimiter.remaining("reports", store=elsewhere) == 0
    assert RateLimiter.remaining("reports") == 2


@pytest.mark.usefixtures("two_a_year")
def test_with_redis_takes_a_url(queue: Laraq, deliver: Deliver, redis_url: str) -> None:
    other = work(RateLimitedWithRedis("reports").connection(redis_url))
    assert [type(deliver(other)) for _ in range(3)] == [Done, Done, Release]
    queue.store_of(redis_url).close()


def test_a_modifier_leaves_the_object_it_was_called_on_alone(deliver: Deliver) -> None:
    RateLimiter.for_("never", lambda job: Limit(0, YEAR))
    plain = RateLimited("never").release_after(5)
    plain.dont_release()
    plain.dont_count()
    plain.release_after(50)
    assert deliver(work(plain)) == Release(5)
