"""Retry policy: whether a job may start, and what an error means. Pure: `now` comes in, a verdict goes out.

Rules: Illuminate/Queue/Worker.php: markJobAsFailedIfAlreadyExceedsMaxAttempts(), handleJobException().
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laraq.errors import JobLostError, JobTimedOutError
from laraq.messages.backoff import Backoff
from laraq.messages.delivery import Fail, Release
from laraq.messages.options import seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The settings of a job and its worker for starting again."""

    #: 0 is unlimited; ignored when `retry_until` is set.
    tries: int = 1
    #: None is unlimited.
    max_exceptions: int | None = None
    #: Epoch seconds.
    retry_until: float | None = None
    backoff: Any = 0
    fail_on_timeout: bool = False


def which(policy: RetryPolicy, attempt: int) -> str:
    """`attempt 1 of 3`, for people; without a total if there is none."""
    limited = policy.retry_until is None and policy.tries > 0
    return f"attempt {attempt} of {policy.tries}" if limited else f"attempt {attempt}"


def exhausted(policy: RetryPolicy, attempt: int, now: float) -> bool:
    """Whether this start is one too many; at `now == retry_until` the job still runs."""
    if policy.retry_until is not None:
        return now > policy.retry_until
    return policy.tries > 0 and attempt > policy.tries


def used_up(policy: RetryPolicy, attempt: int, now: float) -> bool:
    """Whether no other start may follow this one."""
    if policy.retry_until is not None:
        return policy.retry_until <= now
    return policy.tries > 0 and attempt >= policy.tries


def judge(policy: RetryPolicy, attempt: int, exceptions: int, error: BaseException, now: float) -> Release | Fail:
    """The verdict of a job that raised, timed out or died; `exceptions` includes this one."""
    if isinstance(error, JobTimedOutError) and policy.fail_on_timeout:
        return Fail(error)
    if used_up(policy, attempt, now):
        return Fail(error)
    if policy.max_exceptions is not None and exceptions >= policy.max_exceptions and counts(error):
        return Fail(error)
    return Release(backoff_after(policy.backoff, attempt), error)


def counts(error: BaseException) -> bool:
    """Whether an error counts towards `max_exceptions`: a job that died did not raise."""
    return not isinstance(error, JobLostError)


def backoff_after(backoff: Any, attempt: int) -> float:
    """Seconds to wait after a start: a number, a timedelta, a list whose last value repeats, or a Backoff."""
    if backoff is None:
        return 0.0
    if isinstance(backoff, Mapping):
        backoff = Backoff(**backoff)  # it was sent with the message
    if isinstance(backoff, Backoff):
        return backoff.after(attempt)
    if isinstance(backoff, Sequence) and not isinstance(backoff, str):
        return backoff_after(backoff[min(attempt, len(backoff)) - 1], attempt) if backoff else 0.0
    return max(0.0, seconds(backoff))
