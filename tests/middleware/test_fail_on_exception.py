from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Retry

from laraq import Events, events
from laraq.messages.delivery import Done, Fail, Release
from laraq.middleware import FailOnException, ThrottlesExceptions
from tests.middleware.conftest import Deliver
from tests.middleware.works import raises, work


@pytest.mark.parametrize(
    "rule",
    [
        KeyError,
        LookupError,
        [OSError, KeyError],
        (KeyError,),
        lambda error: "gone" in str(error),
        lambda error, job: "gone" in str(error) and job.attempts == 1,
    ],
)
def test_a_matching_error_fails_the_job_and_others_are_retried(deliver: Deliver, asynchronous: bool, rule: Any) -> None:
    middleware = FailOnException(rule)
    matching, other = KeyError("gone"), ValueError("later")
    assert deliver(work(middleware, body=raises(matching), asynchronous=asynchronous)) == Fail(matching)
    assert deliver(work(middleware, body=raises(other), asynchronous=asynchronous)) == Release(0, other)
    assert deliver(work(middleware, asynchronous=asynchronous)) == Done("ran")


def test_no_types_match_nothing(deliver: Deliver) -> None:
    assert isinstance(deliver(work(FailOnException([]), body=raises(KeyError()))), Release)


def test_the_error_goes_on_and_is_reported_once(deliver: Deliver) -> None:
    heard: list[Any] = []
    error = KeyError("gone")
    seen: list[BaseException] = []

    def outside(job: Any, next: Any) -> Any:
        try:
            return next(job)
        except KeyError as passing:
            seen.append(passing)
            raise

    with Events.listening(events.JobExceptionOccurred, heard.append):
        deliver(work(outside, FailOnException(KeyError), body=raises(error)))
    assert seen == [error]
    assert [event.error for event in heard] == [error]


def test_a_failed_job_stays_failed_when_the_error_is_swallowed_outside(deliver: Deliver) -> None:
    error = KeyError("gone")
    cls = work(ThrottlesExceptions(9, 5), FailOnException(KeyError), body=raises(error))
    assert deliver(cls) == Fail(error)


def test_celerys_own_exceptions_are_no_errors(deliver: Deliver) -> None:
    with pytest.raises(Retry):
        deliver(work(FailOnException(Exception), body=raises(Retry())))


@pytest.mark.parametrize("rule", ["KeyError", ["KeyError"], [KeyError, "OSError"], 7, None])
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    with pytest.raises(TypeError, match="expected an exception type, a list of them, or a function of the error"):
        FailOnException(rule)


def test_an_async_predicate_is_refused() -> None:
    async def predicate(error: Exception) -> bool:
        return True

    with pytest.raises(TypeError, match="is async"):
        FailOnException(predicate)
