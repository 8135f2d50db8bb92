"""The retry policy is pure: these are tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laraq import Backoff
from laraq.errors import JobLostError, JobTimedOutError
from laraq.messages.delivery import Fail, Release
from laraq.running.retries import RetryPolicy, backoff_after, counts, exhausted, judge, used_up, which

NOW = 1_000.0
ERROR = ValueError("no")
TIMED_OUT = JobTimedOutError("slow")
LOST = JobLostError("killed")

policies = st.builds(
    RetryPolicy,
    tries=st.integers(0, 5),
    max_exceptions=st.none() | st.integers(1, 5),
    retry_until=st.none() | st.floats(NOW - 10, NOW + 10),
    backoff=st.floats(0, 100) | st.lists(st.integers(0, 100), max_size=4),
    fail_on_timeout=st.booleans(),
)
attempts = st.integers(1, 7)
exceptions = st.integers(1, 7)
errors = st.sampled_from([ERROR, TIMED_OUT, LOST])


@pytest.mark.parametrize(
    ("policy", "attempt", "expected"),
    [
        pytest.param(RetryPolicy(), 1, False, id="one start is the default"),
        pytest.param(RetryPolicy(), 2, True, id="and no second one"),
        pytest.param(RetryPolicy(tries=3), 3, False, id="the last of three"),
        pytest.param(RetryPolicy(tries=3), 4, True, id="the fourth of three"),
        pytest.param(RetryPolicy(tries=0), 1_000, False, id="0 is unlimited"),
        pytest.param(RetryPolicy(tries=1, retry_until=NOW + 1), 99, False, id="before retry_until tries do not matter"),
        pytest.param(RetryPolicy(tries=1, retry_until=NOW), 99, False, id="at retry_until it still runs"),
        pytest.param(RetryPolicy(tries=9, retry_until=NOW - 0.001), 1, True, id="after retry_until not even once"),
        pytest.param(RetryPolicy(tries=0, retry_until=NOW - 0.001), 1, True, id="unlimited tries end there, too"),
    ],
)
def test_a_start_is_refused_when_it_is_one_too_many(policy: RetryPolicy, attempt: int, expected: bool) -> None:
    assert exhausted(policy, attempt, NOW) is expected


@pytest.mark.parametrize(
    ("policy", "attempt", "expected"),
    [
        pytest.param(RetryPolicy(), 1, True, id="the only start"),
        pytest.param(RetryPolicy(tries=3), 2, False, id="one is left"),
        pytest.param(RetryPolicy(tries=3), 3, True, id="the last of three"),
        pytest.param(RetryPolicy(tries=3), 4, True, id="beyond the last"),
        pytest.param(RetryPolicy(tries=0), 1_000, False, id="0 is unlimited"),
        pytest.param(RetryPolicy(tries=1, retry_until=NOW + 0.001), 99, False, id="before retry_until"),
        pytest.param(RetryPolicy(tries=9, retry_until=NOW), 1, True, id="at retry_until nothing may follow"),
    ],
)
def test_no_start_follows_the_last_one(policy: RetryPolicy, attempt: int, expected: bool) -> None:
    assert used_up(policy, attempt, NOW) is expected


@pytest.mark.parametrize(
    ("policy", "attempt", "exceptions", "error", "expected"),
    [
        pytest.param(RetryPolicy(tries=3), 1, 1, ERROR, Release(0, ERROR), id="tries are left"),
        pytest.param(RetryPolicy(tries=3), 3, 3, ERROR, Fail(ERROR), id="tries are used up"),
        pytest.param(RetryPolicy(tries=0), 99, 99, ERROR, Release(0, ERROR), id="unlimited tries"),
        pytest.param(RetryPolicy(retry_until=NOW + 1), 99, 99, ERROR, Release(0, ERROR), id="time is left"),
        pytest.param(RetryPolicy(tries=9, retry_until=NOW), 1, 1, ERROR, Fail(ERROR), id="time is up"),
        pytest.param(
            RetryPolicy(tries=9, max_exceptions=2), 5, 1, ERROR, Release(0, ERROR), id="releases do not count"
        ),
        pytest.param(RetryPolicy(tries=9, max_exceptions=2), 5, 2, ERROR, Fail(ERROR), id="max_exceptions reached"),
        pytest.param(RetryPolicy(tries=9, max_exceptions=2), 2, 2, TIMED_OUT, Fail(TIMED_OUT), id="timeouts count"),
        pytest.param(RetryPolicy(tries=9, max_exceptions=2), 2, 2, LOST, Release(0, LOST), id="a lost run is none"),
        pytest.param(
            RetryPolicy(retry_until=NOW + 1, max_exceptions=2), 2, 2, ERROR, Fail(ERROR), id="also before retry_until"
        ),
        pytest.param(RetryPolicy(tries=9), 1, 1, TIMED_OUT, Release(0, TIMED_OUT), id="a timeout is retried"),
        pytest.param(
            RetryPolicy(tries=9, fail_on_timeout=True), 1, 1, TIMED_OUT, Fail(TIMED_OUT), id="unless fail_on_timeout"
        ),
        pytest.param(
            RetryPolicy(tries=9, fail_on_timeout=True), 1, 1, ERROR, Release(0, ERROR), id="which is for timeouts only"
        ),
        pytest.param(RetryPolicy(tries=3), 3, 0, LOST, Fail(LOST), id="a poison pill stops at tries"),
    ],
)
def test_an_error_releases_or_fails(
    policy: RetryPolicy, attempt: int, exceptions: int, error: BaseException, expected: Release | Fail
) -> None:
    assert judge(policy, attempt, exceptions, error, NOW) == expected


@pytest.mark.parametrize(("error", "expected"), [(ERROR, True), (TIMED_OUT, True), (LOST, False)])
def test_exceptions_and_timeouts_count_and_lost_runs_do_not(error: BaseException, expected: bool) -> None:
    assert counts(error) is expected


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        pytest.param(None, [0, 0, 0], id="none"),
        pytest.param(7, [7, 7, 7], id="number"),
        pytest.param(1.5, [1.5, 1.5, 1.5], id="fraction"),
        pytest.param(timedelta(minutes=1), [60, 60, 60], id="timedelta"),
        pytest.param([1, 5, 10], [1, 5, 10, 10, 10], id="the last of a list repeats"),
        pytest.param((timedelta(seconds=2), 4), [2, 4, 4], id="timedelta in a tuple"),
        pytest.param([], [0, 0], id="empty list"),
        pytest.param(-5, [0], id="never negative"),
        pytest.param(Backoff.exponential(2, cap=10), [2, 4, 8, 10, 10], id="exponential"),
        pytest.param(Backoff.exponential(), [1, 2, 4, 8], id="exponential by default"),
        pytest.param(
            Backoff.exponential(timedelta(seconds=3), timedelta(minutes=1)), [3, 6, 12, 24, 48, 60], id="timedeltas"
        ),
    ],
)
def test_a_backoff_is_read_by_start(backoff: Any, waits: list[float]) -> None:
    assert [backoff_after(backoff, attempt) for attempt in range(1, len(waits) + 1)] == waits


def test_an_exponential_backoff_stays_at_its_cap_for_ever() -> None:
    assert Backoff.exponential(1, cap=600).after(100_000) == 600


@given(base=st.floats(0.1, 60), jitter=st.floats(0, 1), attempt=st.integers(1, 10_000))
def test_jitter_moves_a_wait_by_its_share_at_most(base: float, jitter: float, attempt: int) -> None:
    plain = Backoff.exponential(base, cap=600).after(attempt)
    wait = Backoff.exponential(base, cap=600, jitter=jitter).after(attempt)
    assert abs(wait - plain) <= plain * jitter + 1e-9
    assert wait >= 0


def test_jitter_spreads_jobs_that_failed_together() -> None:
    backoff = Backoff.exponential(60, jitter=0.5)
    assert len({backoff.after(1) for _ in range(20)}) > 1


@given(policies, attempts, exceptions, errors)
def test_a_released_job_may_start_again_at_once(
    policy: RetryPolicy, attempt: int, exceptions: int, error: BaseException
) -> None:
    if isinstance(judge(policy, attempt, exceptions, error, NOW), Release):
        assert not exhausted(policy, attempt + 1, NOW)


@given(policies, attempts, exceptions, errors)
def test_nothing_is_released_after_the_last_start(
    policy: RetryPolicy, attempt: int, exceptions: int, error: BaseException
) -> None:
    if used_up(policy, attempt, NOW):
        assert judge(policy, attempt, exceptions, error, NOW) == Fail(error)


@given(policies, attempts, st.floats(0, 20))
def test_a_used_up_job_stays_used_up(policy: RetryPolicy, attempt: int, later: float) -> None:
    if used_up(policy, attempt, NOW):
        assert used_up(policy, attempt + 1, NOW + later)


@given(policies, attempts, errors)
def test_tries_bound_the_starts_whatever_happens(policy: RetryPolicy, attempt: int, error: BaseException) -> None:
    if policy.retry_until is None and policy.tries:
        started = 0
        for start in range(1, policy.tries + 3):
            if exhausted(policy, start, NOW):
                break
            started += 1
            if isinstance(judge(policy, start, started, error, NOW), Fail):
                break
        assert started <= policy.tries


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(tries=3), "attempt 2 of 3"),
        (RetryPolicy(tries=0), "attempt 2"),
        (RetryPolicy(tries=3, retry_until=NOW), "attempt 2"),
    ],
)
def test_people_read_how_many_attempts_there_are_where_they_are_counted(policy: RetryPolicy, expected: str) -> None:
    assert which(policy, 2) == expected
