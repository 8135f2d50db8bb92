"""Failed jobs of a batch that are retried move from failed to done."""

from __future__ import annotations

from collections import Counter

import pytest

from laraq import Batch, Bus
from laraq.errors import BatchNotFoundError
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Breaks, Note, counts, log, watched


class Repairable(Note):
    def handle(self) -> None:
        if "repaired" not in log:
            raise ValueError("out of order")
        log.append(self.n)


@on_stores
def test_retried_jobs_move_from_failed_to_done_and_then_is_told_once(line: Line, told: list[str]) -> None:
    batch = watched([Note(1), Repairable(2), [Repairable(3), Note(4)]]).dispatch()
    line.work()
    assert counts(batch) == (4, 1, 2, True)
    assert batch.fresh().pending_jobs == 3
    failed = batch.fresh().failed_job_ids
    log.clear()
    sent, lost = line.laraq.failed.retry_batch(batch.id)
    assert (sorted(sent), lost) == (sorted(failed), [])
    assert counts(batch) == (4, 1, 0, False), "they are pending again"
    line.work()
    assert (counts(batch), log) == ((4, 1, 2, True), []), "it failed again: it was told already"
    log.append("repaired")
    line.laraq.failed.retry_batch(batch.id)
    line.work()
    assert counts(batch) == (4, 4, 0, True)
    assert Counter(log) == Counter(["repaired", 2, 3, 4, "progress", "progress", "progress", "then"])
    assert told.count("BatchFinished") >= 2
    assert line.laraq.failed.retry_batch(batch.id) == ([], [])
    assert line.laraq.failed.all() == []


def raises(batch: Batch) -> None:
    raise KeyError("callback")


def test_a_failed_job_whose_record_is_gone_cannot_be_retried_and_is_named(line: Line) -> None:
    batch = Bus.batch([Breaks(1), Breaks(2)]).finally_(raises).allow_failures().dispatch()
    line.work()
    kept, lost = batch.fresh().failed_job_ids
    assert len(line.laraq.failed.all()) == 3, "its callback failed, too"
    line.laraq.failed.forget(lost)
    assert line.laraq.failed.retry_batch(batch.id) == ([kept], [lost])


def test_one_of_several_failures_can_be_retried(line: Line) -> None:
    batch = watched([Repairable(1), Repairable(2)]).allow_failures().dispatch()
    line.work()
    log.append("repaired")
    line.laraq.failed.retry(batch.fresh().failed_job_ids[1])
    line.work()
    assert counts(batch) == (2, 1, 1, True)
    assert "then" not in log


def test_an_unknown_batch_cannot_be_retried(line: Line) -> None:
    with pytest.raises(BatchNotFoundError, match="nobody"):
        line.laraq.failed.retry_batch("nobody")
