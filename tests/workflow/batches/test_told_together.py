"""Successes that another process than the one who ran the jobs tells, several in one step."""

from __future__ import annotations

from collections import Counter

import pytest

from laraq import Batch, Context, Events
from laraq.events import BatchStarted
from laraq.messages.delivery import Delivery
from laraq.messages.payload import Payload
from laraq.messages.tally import Success
from laraq.workflow.batch import PendingBatch
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.fate import Died, fated
from tests.workflow.batches.jobs import Breaks, Note, counts, log, watched


def begun(line: Line, pending: PendingBatch) -> Batch:
    """Dispatch a batch, and call its `before`."""
    batch = pending.dispatch()
    line.step()
    return batch


def ran(line: Line, number: int) -> list[Payload]:
    """Run that many jobs, whose batch hears nothing of it."""
    payloads = [payload for payload, _ in line.waiting if not payload.event][:number]
    for payload in payloads:
        line.waiting.remove((payload, 0.0))
        run = line.laraq.runner.run(Delivery(payload, 1, "line", "line"))
        line.laraq.books.settle(run, journal=line.laraq.run_journal, can_hand_over=True)
    return payloads


def tell(line: Line, payloads: list[Payload]) -> None:
    successes = [Success(payload.id, payload.run_key, payload.context) for payload in payloads]
    line.laraq.batches.succeeded_together(str(payloads[0].batch_id), successes)


@on_stores
def test_they_count_and_call_back_as_if_each_were_told_alone(line: Line, told: list[str]) -> None:
    batch = begun(line, watched([Note(1), Note(2), Note(3)]))
    first = ran(line, 2)
    assert counts(batch) == (3, 0, 0, False), "nobody has told of them"
    tell(line, first)
    assert counts(batch) == (3, 2, 0, False)
    tell(line, ran(line, 1))
    assert counts(batch) == (3, 3, 0, True)
    line.work()
    assert log == ["before", 1, 2, 3, *["progress"] * 3, "then", "finally"]
    assert told == ["BatchDispatched", "BatchStarted", "BatchFinished"]


@on_stores
def test_told_again_they_change_nothing(line: Line) -> None:
    batch = begun(line, watched([Note(1), Note(2)]))
    payloads = ran(line, 2)
    for _ in range(3):
        tell(line, payloads)
    line.work()
    assert counts(batch) == (2, 2, 0, True)
    assert sorted(map(str, log)) == ["1", "2", "before", "finally", "progress", "progress", "then"]


def test_the_first_jobs_start_the_batch_once_however_they_are_told(line: Line) -> None:
    started: list[BatchStarted] = []
    with Events.listening(BatchStarted, started.append):
        batch = begun(line, watched([Note(1), Breaks(), Note(2), Note(3)]).allow_failures())
        payloads = ran(line, 1)
        line.work()
        assert counts(batch) == (4, 2, 1, False)
        tell(line, payloads)
    assert len(started) == 1
    assert counts(batch) == (4, 3, 1, True)


def on_tenant(batch: Batch) -> None:
    log.append(Context.get("tenant"))


def test_callbacks_inherit_the_context_of_the_jobs_that_led_to_them(line: Line) -> None:
    with Context.scope({"tenant": "acme"}):
        begun(line, watched([Note(1)]).finally_(on_tenant))
    tell(line, ran(line, 1))
    line.work()
    assert "acme" in log


def test_of_a_deleted_batch_nothing_is_told(line: Line) -> None:
    batch = begun(line, watched([Note(1)]))
    payloads = ran(line, 1)
    batch.delete()
    tell(line, payloads)
    line.work()
    assert log == ["before", 1]


@pytest.mark.parametrize("number", [1, 3])
def test_a_failure_among_them_is_repaired_by_its_success(line: Line, number: int) -> None:
    batch = begun(line, watched([Note(n) for n in range(number)]).allow_failures())
    payloads = ran(line, number)
    line.laraq.batches.failed(payloads[0], ValueError("the worker died"))
    assert counts(batch)[2] == 1
    tell(line, payloads)
    assert counts(batch) == (number, number, 0, True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_who_tells_may_die_at_any_step_and_the_messages_come_again(after: bool) -> None:
    die_at, died = 0, True
    while died:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            batch = begun(line, watched([Note(1), [Note(2)], Note(3)]))
            payloads = [payload for payload, _ in line.waiting if not payload.event]
            for payload in payloads:
                line.waiting.remove((payload, 0.0))
                line.hand_over(payload)
            fate = fated(line, die_at, after)
            fate.armed = True
            try:
                tell(line, payloads)
            except Died:
                fate.dead = False
            died, fate.armed = fate.steps == die_at, False
            for payload in payloads:
                line.run(payload, redelivered=True)
            line.laraq.batches.reconcile()
            line.work()
            assert counts(batch) == (3, 3, 0, True), die_at
            assert Counter(log) == Counter([1, 2, 3, "before", *["progress"] * 3, "then", "finally"]), die_at
    assert die_at > 6
