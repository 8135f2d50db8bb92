"""Workers and senders may die at any step: no count and no callback is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from laraq import Bus, Job
from laraq.messages.tally import CLOSED
from tests.support.line import Line
from tests.workflow.batches.fate import Died, fated, work_through
from tests.workflow.batches.jobs import Breaks, Note, counts, log, on_failure, watched


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("at_once", [False, True], ids=["success is noted", "the batch is the note"])
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_worker_may_die_at_any_step_of_the_bookkeeping(after: bool, at_once: bool) -> None:
    die_at, steps = 0, 1
    while die_at < steps:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            jobs = [Twice(1), [Note(2), Breaks(0), Note(3)], Twice(4), Bus.chain([Note(5), Twice(6)])]
            batch = watched(jobs).allow_failures(on_failure).dispatch()
            fate = fated(line, die_at, after, at_once=at_once)
            work_through(line, fate)
            line.laraq.batches.reconcile()
            line.work()
            steps = fate.steps
            assert counts(batch) == (7, 5, 1, True), die_at
            seen = Counter(entry for entry in log if not str(entry).startswith(("break", "catch", "failure")))
            again = seen - Counter([1, 2, 4, 5, 6, "before", "finally", *["progress"] * 6])
            assert seen - again == Counter([1, 2, 4, 5, 6, "before", "finally", *["progress"] * 6]), die_at
            assert not again or (at_once and not after and sorted(again) in ([1], [4], [6])), die_at
            assert sorted(str(entry).split()[0] for entry in log if " " in str(entry)) == ["break", "catch", "failure"]
            found = line.laraq.batches.store.find(batch.id)
            assert found is not None
            assert CLOSED in found.sent, die_at
    assert steps > 20


@pytest.mark.usefixtures("impatient", "small_chunks")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_sender_may_die_at_any_step_of_the_dispatch(after: bool, caplog: pytest.LogCaptureFixture) -> None:
    die_at, died = 0, True
    while died:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            fate = fated(line, die_at, after)
            fate.armed = True
            try:
                watched([Note(1), [Note(2), Note(3)], Note(4), Note(5)]).dispatch()
            except Died:
                fate.dead = False
            died = fate.steps == die_at
            fate.armed = False
            line.work()
            line.laraq.batches.reconcile()
            line.work()
            line.laraq.batches.reconcile()
            batches = line.laraq.batches.all()
            ran = [entry for entry in log if isinstance(entry, int)]
            assert sorted(ran) == [1, 2, 3, 4, 5][: len(ran)], die_at
            for batch in batches:
                assert counts(batch) == (len(ran), len(ran), 0, True), die_at
                assert log.count("finally") == 1, die_at
                assert log.count("progress") == len(ran), die_at
            assert batches or not ran
    assert die_at > 8


@pytest.mark.usefixtures("impatient", "small_chunks")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_job_may_die_at_any_step_of_adding(after: bool) -> None:
    """What it sent before it died counts as well; its second start adds all again."""
    die_at, steps = 0, 1
    while die_at < steps:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            batch = watched([_Loader()]).dispatch()
            fate = fated(line, die_at, after)
            work_through(line, fate)
            line.laraq.batches.reconcile()
            line.work()
            line.laraq.batches.reconcile()
            steps = fate.steps
            ran = [entry for entry in log if isinstance(entry, int)]
            assert {1, 2, 3} == set(ran), die_at
            assert counts(batch) == (len(ran) + 1, len(ran) + 1, 0, True), die_at
            assert (log.count("then"), log.count("finally")) == (1, 1), die_at
            assert log.count("progress") == len(ran) + 1, die_at


class Twice(Note):
    tries = 2


class _Loader(Job):
    tries = 0

    def handle(self) -> None:
        batch = self.batch()
        assert batch is not None
        batch.add(Note(n) for n in (1, 2, 3))
