"""A cancelled batch skips the jobs that look, and takes no more."""

from __future__ import annotations

import pytest

from laraq import Bus, current_job, job
from laraq.errors import BatchCancelledError
from tests.support.line import Line
from tests.workflow.batches.jobs import Adds, Note, Skippable, counts, log, on_finally, watched


def test_a_cancelled_batch_runs_what_does_not_look(line: Line, told: list[str]) -> None:
    batch = watched([Note(1), Skippable(2), [Skippable(3), Note(4)]]).dispatch()
    batch.cancel()
    batch.cancel()
    line.work()
    assert counts(batch) == (4, 4, 0, True)
    assert [entry for entry in log if isinstance(entry, int)] == [1, 4]
    assert [log.count(event) for event in ("then", "finally")] == [1, 1], "a skipped job is a success, as in Laravel"
    assert told.count("BatchStarted") == told.count("BatchFinished") == 1


def test_a_job_may_cancel_its_batch(line: Line) -> None:
    @job
    def cancels() -> None:
        found = current_job().batch()
        found.cancel()
        assert found.cancelled

    batch = Bus.batch([cancels, Skippable(1)]).dispatch()
    line.work()
    assert log == []
    assert counts(batch) == (2, 2, 0, True)


def test_nothing_is_added_to_a_cancelled_batch(line: Line) -> None:
    batch = Bus.batch([Note(1), Adds([2])]).finally_(on_finally).dispatch()
    batch.cancel()
    with pytest.raises(BatchCancelledError, match=batch.id):
        batch.add([Note(3)])
    line.work()
    assert log == [1, "finally"]
    assert counts(batch) == (2, 1, 1, True)
    assert "BatchCancelledError" in line.laraq.failed.all()[0].exception
