"""Runs that could not end themselves: timeouts, lost processes, exits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from celery.exceptions import Ignore, Reject, Retry

from laraq import Job, Laraq
from laraq.delivery import Crash, Fail, Release
from laraq.errors import JobFailure, JobLostError, JobTimedOutError, PayloadError
from tests.runner.jobs import Patient, Script
from tests.runner.runs import delivery


class Timid(Patient):
    fail_on_timeout = True


@pytest.mark.parametrize(
    ("job", "attempt", "kind", "released"),
    [
        pytest.param(Patient([]), 1, "timeout", True, id="a timeout is retried"),
        pytest.param(Patient([]), 3, "timeout", False, id="while tries are left"),
        pytest.param(Timid([]), 1, "timeout", False, id="unless fail_on_timeout"),
        pytest.param(Patient([]), 1, "lost", True, id="a lost run is retried"),
        pytest.param(Patient([]), 3, "lost", False, id="while tries are left, so a poison pill stops"),
        pytest.param(Timid([]), 1, "lost", True, id="a lost run is no timeout"),
        pytest.param(Patient([]), 1, "unsettled", False, id="what had failed before has failed"),
        pytest.param(Patient([]), 1, "broken", False, id="a broken message is not retried"),
    ],
)
def test_a_run_that_could_not_end_itself_is_judged_without_running(
    queue: Laraq, job: Patient, attempt: int, kind: str, released: bool
) -> None:
    job.steps.append("fail it-was-run")
    run = queue.runner.run(delivery(queue, job, attempt, Crash(kind, "signal 9")))
    if released:
        assert isinstance(run.verdict, Release)
        assert run.verdict.delay == 7
    else:
        assert isinstance(run.verdict, Fail)
        assert "signal 9" in str(run.verdict.error)
        assert "it-was-run" not in str(run.verdict.error)
    errors: dict[str, type[Exception]] = {
        "timeout": JobTimedOutError, "lost": JobLostError, "unsettled": JobFailure, "broken": PayloadError
    }  # fmt: skip
    assert isinstance(run.verdict.error, errors[kind])


def test_timeouts_count_for_max_exceptions_and_lost_runs_do_not(queue: Laraq) -> None:
    class Limited(Script):
        tries = 0
        max_exceptions = 1

    lost = queue.runner.run(delivery(queue, Limited([]), 1, Crash("lost", "signal 9")))
    assert isinstance(lost.verdict, Release)
    timed_out = queue.runner.run(
        delivery(queue, Limited([]), 2, Crash("timeout", "5 s"), exceptions=lost.payload.exceptions)
    )
    assert isinstance(timed_out.verdict, Fail)


def test_a_job_that_calls_sys_exit_is_lost_and_retried(queue: Laraq) -> None:
    class Exits(Job):
        tries = 2

        def handle(self) -> None:
            sys.exit(3)

    verdict = queue.runner.run(delivery(queue, Exits())).verdict
    assert isinstance(verdict, Release)
    assert isinstance(verdict.error, JobLostError)
    assert "sys.exit(3)" in str(verdict.error)


@pytest.mark.parametrize("steering", [Retry(), Ignore(), Reject()], ids=lambda error: type(error).__name__)
def test_celery_s_own_exceptions_pass(queue: Laraq, steering: Exception) -> None:
    class Steers(Job):
        def handle(self) -> None:
            raise steering

    with pytest.raises(type(steering)):
        queue.runner.run(delivery(queue, Steers()))


def test_keyboard_interrupt_passes(queue: Laraq) -> None:
    class Interrupted(Job):
        def handle(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.runner.run(delivery(queue, Interrupted()))


def test_a_signal_handler_that_ends_the_process_is_not_mistaken_for_the_job() -> None:
    code = (
        "import sys; from celery import Celery; from laraq import Job, Laraq\n"
        "class Ends(Job):\n"
        "    def handle(self): sys.exit(-15)\n"
        "queue = Laraq(Celery('t', broker='memory://'), store='memory://')\n"
        "Ends.dispatch_sync()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 256 - 15, ended.stderr
