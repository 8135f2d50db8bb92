from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from laraq import Backoff, Job, Laraq
from laraq.messages.delivery import Delivery, Fail, Release
from laraq.messages.options import TRAVELLING, WorkerOptions, apply, delay_seconds, epoch, read, seconds, travelling
from laraq.messages.payload import Payload
from laraq.running.run import Run

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def queue() -> Iterator[Laraq]:
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


class Plain(Job):
    def handle(self) -> None:
        raise ValueError("no")


class Stubborn(Plain):
    tries = 5
    backoff = [1, 5, 10]
    timeout = 30


class Computing(Plain):
    n: int

    def tries(self) -> int:
        return self.n

    def backoff(self) -> list[int]:
        return [self.n * 10]


def delivered(queue: Laraq, job: Job, attempt: int = 1) -> Run:
    payload = queue.packer.payload(job, "1")
    payload = Payload.from_dict(json.loads(json.dumps(payload.to_dict())))
    return queue.runner.run(Delivery(payload, attempt, "default", "default"))


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3.0), (1.5, 1.5), (timedelta(minutes=2), 120.0), (timedelta(milliseconds=5), 0.005)]
)
def test_a_length_of_time_is_read_in_seconds(value: Any, expected: float) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0.0),
        (5, 5.0),
        (-5, 0.0),
        (timedelta(minutes=1), 60.0),
        (timedelta(minutes=-1), 0.0),
        (NOW + timedelta(seconds=90), 90.0),
        (NOW - timedelta(seconds=90), 0.0),
        ((NOW + timedelta(seconds=90)).astimezone(timezone(timedelta(hours=5))), 90.0),
    ],
)
def test_a_delay_is_counted_from_now_and_never_negative(value: Any, expected: float) -> None:
    assert delay_seconds(value, NOW) == expected


def test_a_moment_without_a_timezone_is_refused() -> None:
    naive = datetime(2026, 1, 2)
    with pytest.raises(ValueError, match="timezone"):
        delay_seconds(naive, NOW)
    with pytest.raises(ValueError, match="timezone"):
        epoch(naive, 0)


@pytest.mark.parametrize(
    ("value", "expected"), [(timedelta(hours=1), 4600.0), (NOW, NOW.timestamp()), (1234.5, 1234.5)]
)
def test_a_moment_is_read_as_epoch_seconds(value: Any, expected: float) -> None:
    assert epoch(value, 1000.0) == expected


def test_the_instance_wins_over_the_class() -> None:
    job = Stubborn()
    job.tries = 7
    assert (read(job, "tries"), read(Stubborn(), "tries")) == (7, 5)


def test_an_option_may_be_a_method_that_knows_the_fields() -> None:
    assert read(Computing(4), "tries") == 4
    assert read(Computing, "tries") is None


def test_only_what_is_set_on_the_instance_travels() -> None:
    job: Any = Stubborn()
    assert travelling(job) == {}
    job.tries, job.backoff, job.timeout = 7, [timedelta(seconds=2), 3], timedelta(minutes=1)
    assert travelling(job) == {"tries": 7, "backoff": [2.0, 3], "timeout": 60.0}


@pytest.mark.parametrize("name", TRAVELLING)
def test_what_travels_is_put_back(name: str) -> None:
    job = Plain()
    apply(job, {name: 3})
    assert read(job, name) == 3


@pytest.mark.parametrize("name", ["queue", "handle", "_name", "id", "dispatch"])
def test_a_message_sets_nothing_but_the_options_that_travel(name: str) -> None:
    job = Plain()
    apply(job, {name: "x"})
    assert name not in vars(job)


@pytest.mark.parametrize(
    ("on_instance", "job", "worker", "starts"),
    [
        pytest.param(None, Plain, 1, 1, id="default"),
        pytest.param(None, Plain, 4, 4, id="worker"),
        pytest.param(None, Stubborn, 2, 5, id="class over worker"),
        pytest.param(None, lambda: Computing(3), 1, 3, id="method over worker"),
        pytest.param(2, Stubborn, 9, 2, id="instance over class"),
        pytest.param(2, lambda: Computing(5), 9, 2, id="instance over method"),
    ],
)
def test_who_says_how_often_a_job_is_started(
    queue: Laraq, on_instance: int | None, job: Any, worker: int, starts: int
) -> None:
    queue.worker = WorkerOptions(tries=worker)
    made = job()
    if on_instance is not None:
        made.tries = on_instance
    verdicts = [delivered(queue, made, attempt).verdict for attempt in range(1, starts + 1)]
    assert [type(verdict) for verdict in verdicts] == [Release] * (starts - 1) + [Fail]


def test_tries_0_of_a_job_is_unlimited_and_beats_the_worker(queue: Laraq) -> None:
    job = Plain()
    job.tries = 0
    assert isinstance(delivered(queue, job, 1000).verdict, Release)


@pytest.mark.parametrize(
    ("on_instance", "job", "worker", "wait"),
    [
        pytest.param(None, lambda: Computing(9), 3, 90, id="method over worker"),
        pytest.param(None, Stubborn, 3, 5, id="class over worker"),
        pytest.param(7, Stubborn, 3, 7, id="instance over class"),
        pytest.param(timedelta(minutes=1), Stubborn, 3, 60, id="a timedelta on the instance"),
        pytest.param([1, timedelta(seconds=8)], Stubborn, 3, 8, id="a list on the instance"),
        pytest.param(Backoff.exponential(2), Stubborn, 3, 4, id="an exponential backoff on the instance"),
        pytest.param(0, Stubborn, 3, 0, id="0 on the instance"),
    ],
)
def test_who_says_how_long_to_wait(queue: Laraq, on_instance: Any, job: Any, worker: Any, wait: float) -> None:
    queue.worker = WorkerOptions(backoff=worker)
    made = job()
    if on_instance is not None:
        made.backoff = on_instance
    verdict = delivered(queue, made, 2).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == wait


def test_the_worker_says_how_long_to_wait_when_the_job_does_not(queue: Laraq) -> None:
    queue.worker = WorkerOptions(tries=9, backoff=[1, 5, 10])
    verdicts = [delivered(queue, Plain(), attempt).verdict for attempt in range(1, 6)]
    assert [verdict.delay for verdict in verdicts if isinstance(verdict, Release)] == [1, 5, 10, 10, 10]


def test_a_delay_is_never_a_backoff(queue: Laraq) -> None:
    job: Any = Stubborn().with_delay(600)
    job.backoff = None
    verdict = delivered(queue, job).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == 0


def test_options_of_the_class_are_read_in_the_worker(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = queue.packer.payload(Stubborn(), "1")
    monkeypatch.setattr(Stubborn, "tries", 1)
    assert isinstance(queue.runner.run(Delivery(payload, 1, "default", "default")).verdict, Fail)


def test_retry_until_is_computed_once_when_the_job_is_first_sent(queue: Laraq) -> None:
    class Dated(Plain):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    before = time.time()
    payload = queue.packer.payload(Dated(), "1")
    assert payload.retry_until is not None
    assert before + 3600 <= payload.retry_until <= time.time() + 3600
    run = queue.runner.run(Delivery(payload.with_(attempts=4), 5, "default", "default"))
    assert run.payload.retry_until == payload.retry_until
    assert isinstance(run.verdict, Release)


def test_retry_until_set_on_an_instance_counts_too(queue: Laraq) -> None:
    job = Plain()
    job.retry_until = datetime.now(UTC) + timedelta(hours=1)
    assert isinstance(delivered(queue, job, 50).verdict, Release)
