"""When `failed()` is called, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from laraq import Events, Laraq, events
from laraq.messages.delivery import Crash, Fail
from tests.running.jobs import Fails, calls
from tests.running.runs import delivery, settled


def test_failed_is_called_once_on_a_fresh_instance(queue: Laraq) -> None:
    run = settled(queue, delivery(queue, Fails(1)))
    assert calls == [(1, "no", 1, run.payload.id)]


def test_failed_is_not_called_while_tries_are_left(queue: Laraq) -> None:
    job = Fails(1)
    job.tries = 2
    settled(queue, delivery(queue, job, 1))
    assert calls == []
    settled(queue, delivery(queue, job, 2))
    assert len(calls) == 1


def test_failed_may_be_async(queue: Laraq) -> None:
    class FailsLater(Fails):
        async def failed(self, error: BaseException | None) -> None:  # type: ignore[override] # either is fine
            calls.append(self.n)

    settled(queue, delivery(queue, FailsLater(3)))
    assert calls == [3]


def test_failed_is_called_for_a_job_that_may_not_even_start(queue: Laraq) -> None:
    settled(queue, delivery(queue, Fails(1), 2))
    assert [type_of(call) for call in calls] == ["attempted too many times"]


def type_of(call: Any) -> str:
    return "attempted too many times" if "attempted too many times" in call[1] else call[1]


def test_a_failed_hook_that_raises_is_reported_and_stops_nothing(
    queue: Laraq, caplog: pytest.LogCaptureFixture
) -> None:
    class FailsTwice(Fails):
        def failed(self, error: BaseException | None) -> None:
            raise RuntimeError("the hook is broken")

    heard: list[Any] = []
    with Events.listening(events.JobFailed, heard.append):
        run = settled(queue, delivery(queue, FailsTwice(1)))
    assert "the hook is broken" in caplog.text
    kept = queue.failed.find(run.payload.id)
    assert kept is not None
    assert "ValueError: no" in kept.exception
    assert len(heard) == 1


def test_a_hook_is_left_out_when_settling_crashed_too(queue: Laraq) -> None:
    run = settled(queue, delivery(queue, Fails(1), 1, Crash("lost", "signal 9", hooks=False)))
    assert isinstance(run.verdict, Fail)
    assert calls == []
    assert queue.failed.find(run.payload.id) is not None
