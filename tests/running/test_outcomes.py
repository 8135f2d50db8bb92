"""A run has one outcome, whatever the job and its middleware did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laraq import Job, Laraq
from laraq.messages.delivery import Done, Fail, Release
from tests.running.jobs import Fails, Patient, Script
from tests.running.runs import FAILED, GONE, MANUALLY, OVER, delivery, told


@pytest.mark.parametrize(
    ("steps", "with_tries_left", "without"),
    [
        (["return"], OVER, OVER),
        (["raise"], ("raised", 7), FAILED),
        (["release"], ("asked", 0), ("asked", 0)),
        (["release 10"], ("asked", 10), ("asked", 10)),
        (["release 10", "release 20"], ("asked", 20), ("asked", 20)),
        (["release 10", "raise"], ("asked", 10), FAILED),
        (["fail"], MANUALLY, MANUALLY),
        (["fail", "raise"], MANUALLY, MANUALLY),
        (["delete"], GONE, GONE),
        (["delete", "raise"], GONE, GONE),
        (["release 10", "fail"], MANUALLY, MANUALLY),
        (["fail", "release 10"], MANUALLY, MANUALLY),
        (["release 10", "delete"], GONE, GONE),
        (["delete", "release 10"], GONE, GONE),
        (["delete", "fail"], MANUALLY, MANUALLY),
        (["fail", "delete"], MANUALLY, MANUALLY),
        (["release 10", "delete", "raise"], GONE, GONE),
        (["delete", "release 10", "raise"], GONE, GONE),
        (["release 10", "delete", "fail", "raise"], MANUALLY, MANUALLY),
    ],
    ids=lambda value: " then ".join(value) if isinstance(value, list) else "",
)
def test_a_run_has_one_outcome(queue: Laraq, steps: list[str], with_tries_left: Any, without: Any) -> None:
    assert told(queue.runner.run(delivery(queue, Patient(steps), 1)).verdict) == with_tries_left
    assert told(queue.runner.run(delivery(queue, Patient(steps), 3)).verdict) == without


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["release 5", "fail", "delete"]), max_size=6), st.booleans())
def test_fail_beats_delete_beats_release_in_any_order(queue: Laraq, verbs: list[str], raises: bool) -> None:
    verdict = told(queue.runner.run(delivery(queue, Patient([*verbs, "raise"] if raises else verbs))).verdict)
    if "fail" in verbs:
        assert verdict == MANUALLY
    elif "delete" in verbs:
        assert verdict == GONE
    elif "release 5" in verbs:
        assert verdict == ("asked", 5)
    else:
        assert verdict == (("raised", 7) if raises else OVER)


def test_the_first_reason_to_fail_counts(queue: Laraq) -> None:
    verdict = queue.runner.run(delivery(queue, Script(["fail first", "fail second"]))).verdict
    assert isinstance(verdict, Fail)
    assert str(verdict.error) == "first"


def test_fail_takes_an_exception(queue: Laraq) -> None:
    error = KeyError("mine")

    class Fails(Job):
        def handle(self) -> None:
            self.fail(error)

    assert queue.runner.run(delivery(queue, Fails())).verdict == Fail(error)


@pytest.mark.parametrize("delay", [10, timedelta(seconds=10), datetime.now(UTC) + timedelta(days=1)])
def test_release_takes_seconds_a_length_and_a_moment(queue: Laraq, delay: Any) -> None:
    class Releases(Job):
        def handle(self) -> None:
            self.release(delay)

    verdict = queue.runner.run(delivery(queue, Releases())).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == 10 or 82_800 < verdict.delay <= 86_400


def test_a_middleware_that_does_not_call_on_is_a_success(queue: Laraq) -> None:
    class Skips(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: None]

    assert queue.runner.run(delivery(queue, Skips(1))).verdict == Done()


def test_a_middleware_may_release_or_fail_the_job(queue: Laraq) -> None:
    class Busy(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: job.release(30)]

    class Refused(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: job.fail("refused")]

    assert queue.runner.run(delivery(queue, Busy(1))).verdict == Release(30)
    assert told(queue.runner.run(delivery(queue, Refused(1))).verdict) == MANUALLY
