"""Attempts, tries and time"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from laraq import Job, Laraq
from laraq.errors import JobTimedOutError, MaxAttemptsExceededError
from laraq.messages.delivery import Crash, Done, Fail, Release
from laraq.messages.options import WorkerOptions
from tests.parity.conftest import Deliver

parity = pytest.mark.parity


class Breaks(Job):
    def handle(self) -> None:
        raise ValueError("no")


class Releases(Job):
    tries = 3

    def handle(self) -> None:
        self.release(5)


def with_options(job: Job, **options: Any) -> Job:
    for name, value in options.items():
        setattr(job, name, value)
    return job


@parity("A job is started once unless it or the worker is configured otherwise.")
def test_one_try_by_default(deliver: Deliver) -> None:
    assert isinstance(deliver(Breaks()).verdict, Fail)


@parity("`tries` of the job beats `--tries` of the worker.")
def test_the_job_beats_the_worker(queue: Laraq, deliver: Deliver) -> None:
    queue.worker = WorkerOptions(tries=9)
    assert isinstance(deliver(with_options(Breaks(), tries=2), 2).verdict, Fail)
    assert isinstance(deliver(Breaks(), 2).verdict, Release)


@parity("`tries = 0` is unlimited and overrides the worker's limit.")
def test_no_limit(queue: Laraq, deliver: Deliver) -> None:
    queue.worker = WorkerOptions(tries=1)
    assert isinstance(deliver(with_options(Breaks(), tries=0), 500).verdict, Release)


@parity("A job that always releases itself runs `tries` times; the next start fails it without running it.")
def test_release_until_the_end(deliver: Deliver) -> None:
    verdicts = [deliver(Releases(), attempt).verdict for attempt in (1, 2, 3, 4)]
    assert verdicts[:3] == [Release(5)] * 3
    assert isinstance(verdicts[3], Fail)
    assert isinstance(verdicts[3].error, MaxAttemptsExceededError)


@parity("`retry_until` makes `tries` irrelevant.")
def test_time_instead_of_tries(deliver: Deliver) -> None:
    assert isinstance(deliver(Breaks(), 50, retry_until=time.time() + 60).verdict, Release)
    late = deliver(with_options(Breaks(), tries=99), 1, retry_until=time.time() - 60).verdict
    assert isinstance(late, Fail)
    assert isinstance(late.error, MaxAttemptsExceededError)


@parity("`max_exceptions` counts exceptions, not releases.")
def test_exceptions_are_counted_apart(deliver: Deliver) -> None:
    job = with_options(Breaks(), tries=0, max_exceptions=2)
    assert isinstance(deliver(job, 9).verdict, Release)
    assert isinstance(deliver(job, 10, exceptions=1).verdict, Fail)


@parity("`backoff` is a number or a list indexed by the starts so far; its last value repeats.")
def test_backoff(deliver: Deliver) -> None:
    job = with_options(Breaks(), tries=0, backoff=[1, 5, 10])
    verdicts = [deliver(job, attempt).verdict for attempt in (1, 2, 3, 4)]
    assert [verdict.delay for verdict in verdicts if isinstance(verdict, Release)] == [1, 5, 10, 10]


@parity("`fail_on_timeout` fails a job at its first timeout.")
def test_fail_on_timeout(deliver: Deliver) -> None:
    job = with_options(Breaks(), tries=9, fail_on_timeout=True)
    assert isinstance(deliver(job, 1, Crash("timeout", "60 s")).verdict, Fail)


@parity(
    "A job that timed out and has tries left is released with its backoff, and `failed()` runs when it has none.",
    differs="Laravel kills the worker and leaves the job reserved until `retry_after`, without hooks."
    " The wait helps nothing.",
)
def test_a_timeout_is_settled_at_once(deliver: Deliver) -> None:
    job = with_options(Breaks(), tries=2, backoff=7)
    released, failed = (deliver(job, attempt, Crash("timeout", "60 s")).verdict for attempt in (1, 2))
    assert isinstance(released, Release)
    assert released.delay == 7
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, JobTimedOutError)


@parity(
    "A start that killed its process counts, so a poison pill stops after `tries` starts.",
    differs="In Laravel a job without `tries` that kills its worker comes back forever (framework #58207).",
)
def test_a_poison_pill_stops(deliver: Deliver) -> None:
    assert isinstance(deliver(Breaks(), 1, Crash("lost", "signal 9")).verdict, Fail)


@parity(
    "An exception after `release()` keeps the release; on the last start the job fails, once.",
    differs="Laravel requeues such a job and also records it as failed.",
)
def test_release_then_raise(queue: Laraq, deliver: Deliver) -> None:
    class Both(Job):
        tries = 2

        def handle(self) -> None:
            self.release(5)
            raise ValueError("no")

    assert deliver(Both(), 1).verdict == Release(5)
    assert isinstance(deliver(Both(), 2).verdict, Fail)
    assert len(queue.failed.all()) == 1


@parity(
    "Options of the class are read in the worker when the job runs, so a deploy changes them.",
    differs="Laravel freezes every option into the message when it is sent."
    " Options set on an instance travel here as well.",
)
def test_options_are_read_late(queue: Laraq, deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = queue.packer.payload(Releases(), "1")
    own = queue.packer.payload(with_options(Breaks(), tries=5), "2")
    monkeypatch.setattr(Releases, "tries", 1)
    monkeypatch.setattr(Breaks, "tries", 1)
    assert isinstance(deliver(payload, 2).verdict, Fail)
    assert isinstance(deliver(own, 2).verdict, Release)


@parity(
    "`backoff()` is called on the job when it is retried.",
    differs="Laravel calls it once, when the job is sent, so it cannot look at the attempts.",
)
def test_backoff_is_called_late(deliver: Deliver) -> None:
    class Growing(Breaks):
        tries = 5

        def backoff(self) -> int:
            return 10 * self.attempts

    verdict = deliver(Growing(), 3).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == 30


@parity(
    "The delay of a dispatch is never the backoff.",
    differs="Since Laravel 12.11 a job sent with a delay and without a backoff waits that delay after every exception.",
)
def test_delay_is_no_backoff(deliver: Deliver) -> None:
    verdict = deliver(with_options(Breaks(), tries=2).with_delay(600)).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == 0


@parity(
    "MaxAttemptsExceededError names the error that stopped the run before.",
    differs='Laravel only reports "attempted too many times", which hides the cause.',
)
def test_the_cause_is_named(deliver: Deliver) -> None:
    first = deliver(with_options(Breaks(), tries=1), 1)
    last = deliver(first.payload, 2).verdict
    assert isinstance(last, Fail)
    assert "ValueError: no" in str(last.error)


@parity("`retry_until` is computed once, when the job is sent.")
def test_retry_until_is_computed_once(queue: Laraq) -> None:
    class Dated(Breaks):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    until = queue.packer.payload(Dated(), "1").retry_until
    assert until is not None
    assert 3590 < until - time.time() <= 3600


@parity("`delete()` ends a job as a success, whatever it raises afterwards; there is no failed record.")
def test_delete_then_raise(queue: Laraq, deliver: Deliver) -> None:
    class Deletes(Job):
        def handle(self) -> None:
            self.delete()
            raise ValueError("no")

    assert deliver(Deletes()).verdict == Done()
    assert not queue.failed.all()


@parity("A second `fail()`, or an exception after it, changes nothing.")
def test_fail_twice(queue: Laraq, deliver: Deliver) -> None:
    class Fails(Job):
        def handle(self) -> None:
            self.fail("first")
            self.fail("second")
            raise ValueError("third")

    verdict = deliver(Fails()).verdict
    assert isinstance(verdict, Fail)
    assert str(verdict.error) == "first"
    assert len(queue.failed.all()) == 1


@parity("`attempts` is 1 without a worker.")
def test_attempts_without_a_worker() -> None:
    assert Breaks().attempts == 1
