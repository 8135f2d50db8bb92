"""Runs that could not end themselves: timeouts, lost processes, exits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, Retry

from laraq import Events, Job, Laraq
from laraq.errors import JobFailure, JobLostError, JobTimedOutError, PayloadError
from laraq.events import Event
from laraq.messages.delivery import Crash, Done, Fail, Release
from tests.running.jobs import Patient, Script
from tests.running.runs import delivery, settled


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


def test_a_retry_that_celery_has_sent_passes(queue: Laraq) -> None:
    with pytest.raises(Retry):
        queue.runner.run(delivery(queue, Raises("retry")))


class Raises(Job):
    what: str

    tries = 2

    def handle(self) -> None:
        raise ERRORS[self.what]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


ERRORS: dict[str, BaseException] = {
    "retry": Retry(),
    "ignore": Ignore(),
    "reject": Reject("no", requeue=False),
    "requeue": Reject("later", requeue=True),
    "cancelled": asyncio.CancelledError(),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "a library's own": type("GreenletExit", (BaseException,), {})(),
    "no words": Unspeakable(),
    "memory": MemoryError(),
}


def test_ignore_is_a_success_without_a_result_and_reject_a_failure_or_a_release(queue: Laraq) -> None:
    verdicts = {
        what: queue.runner.run(delivery(queue, Raises(what))).verdict for what in ("ignore", "reject", "requeue")
    }
    assert verdicts == {"ignore": Done(), "reject": Fail(ERRORS["reject"]), "requeue": Release()}


@pytest.mark.parametrize("what", ["cancelled", "interrupt", "generator", "a library's own", "no words", "memory"])
def test_whatever_is_raised_is_judged_and_then_recorded(queue: Laraq, what: str) -> None:
    first = settled(queue, delivery(queue, Raises(what)))
    assert first.verdict == Release(0, ERRORS[what])
    last = settled(queue, delivery(queue, Raises(what), attempt=2))
    assert last.verdict == Fail(ERRORS[what])
    record = queue.failed.find(last.payload.id)
    assert record is not None
    assert type(ERRORS[what]).__name__ in record.exception


@pytest.mark.parametrize("place", ["failed", "listener", "lost", "backoff"])
@pytest.mark.parametrize("what", ["cancelled", "interrupt", "no words"])
def test_a_hook_may_raise_whatever_it_likes(queue: Laraq, place: str, what: str) -> None:
    def raises(*args: Any) -> Any:
        raise ERRORS[what]

    middleware = type("Loses", (), {"handle": lambda self, job, next: next(job), "lost": raises})()
    body: dict[str, Any] = {"handle": lambda self: 1 / 0, "tries": 1 if place == "failed" else 2}
    body |= {place: raises} if place in ("failed", "backoff") else {}
    body |= {"middleware": lambda self: [middleware]} if place == "lost" else {}
    cls: Any = type("Hooked", (Job,), {"__module__": __name__, **body})
    crash = Crash("lost", "gone") if place == "lost" else None
    with Events.listening(Event, raises) if place == "listener" else nullcontext():
        run = settled(queue, delivery(queue, cls(), crash=crash))
    assert isinstance(run.verdict, Fail if place == "failed" else Release)
    assert (queue.failed.find(run.payload.id) is not None) == (place == "failed")


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
