"""How often and how long a job is tried, and after which pause."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from laraq import Job, Laraq
from laraq.errors import MaxAttemptsExceededError
from laraq.messages.delivery import Delivery, Done, Fail, Release
from laraq.messages.payload import Payload
from tests.running.jobs import Patient, Script
from tests.running.runs import FAILED, delivery, told


def test_a_job_that_always_releases_is_run_as_often_as_it_may_and_then_failed_without_a_run(queue: Laraq) -> None:
    runs = []

    class Waits(Job):
        tries = 3

        def handle(self) -> None:
            runs.append(self.attempts)
            self.release()

    verdicts = [queue.runner.run(delivery(queue, Waits(), attempt)).verdict for attempt in (1, 2, 3, 4)]
    assert runs == [1, 2, 3]
    assert [type(verdict) for verdict in verdicts] == [Release, Release, Release, Fail]
    assert isinstance(verdicts[-1], Fail)
    assert isinstance(verdicts[-1].error, MaxAttemptsExceededError)


def test_a_job_attempted_too_often_names_what_stopped_it_last(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Patient(["raise"]), 2))
    last = queue.runner.run(Delivery(run.payload.with_(attempts=3), 4, "default", "default"))
    assert isinstance(last.verdict, Fail)
    assert "attempted too many times" in str(last.verdict.error)
    assert "ValueError: no" in str(last.verdict.error)


@pytest.mark.parametrize(("until", "runs"), [(60.0, True), (-1.0, False)])
def test_retry_until_makes_tries_irrelevant(queue: Laraq, until: float, runs: bool) -> None:
    now = time.time()
    verdict = queue.runner.run(delivery(queue, Script([]), 50, retry_until=now + until)).verdict
    assert isinstance(verdict, Done if runs else Fail)


def test_at_retry_until_the_job_still_runs_but_not_once_more(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    arrives = delivery(queue, Patient(["raise"]), 1, retry_until=2_000_000_000.0)
    monkeypatch.setattr("laraq.process.clock.now", lambda: 2_000_000_000.0)
    assert told(queue.runner.run(arrives).verdict) == FAILED


def test_a_stranger_s_message_gets_its_retry_until_at_its_first_start(queue: Laraq) -> None:
    class Dated(Patient):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    arrives = Delivery(Payload("1", Dated.job_name(), {"steps": ["raise"]}), 1, "default", "default")
    run = queue.runner.run(arrives)
    assert run.payload.retry_until is not None
    assert 3500 < run.payload.retry_until - time.time() <= 3600


def test_exceptions_are_counted_in_the_message_and_releases_are_not(queue: Laraq) -> None:
    class Limited(Script):
        tries = 0
        max_exceptions = 2

    released = queue.runner.run(delivery(queue, Limited(["release"]), 8))
    assert released.payload.exceptions == 0
    first = queue.runner.run(delivery(queue, Limited(["raise"]), 9, exceptions=released.payload.exceptions))
    assert isinstance(first.verdict, Release)
    assert first.payload.exceptions == 1
    second = queue.runner.run(delivery(queue, Limited(["raise"]), 10, exceptions=first.payload.exceptions))
    assert told(second.verdict) == FAILED


def test_backoff_may_be_a_method_called_when_the_job_is_retried(queue: Laraq) -> None:
    class Growing(Script):
        tries = 5

        def backoff(self) -> list[int]:
            return [10 * self.attempts, 99]

    assert told(queue.runner.run(delivery(queue, Growing(["raise"]), 1)).verdict) == ("raised", 10)
    assert told(queue.runner.run(delivery(queue, Growing(["raise"]), 2)).verdict) == ("raised", 99)
