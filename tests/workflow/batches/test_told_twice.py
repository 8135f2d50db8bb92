"""What is delivered or told twice counts once."""

from __future__ import annotations

from collections import Counter

from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Breaks, Note, counts, log, on_failure, watched


@on_stores
def test_a_job_delivered_twice_counts_once_and_is_told_once(line: Line, told: list[str]) -> None:
    batch = watched([Note(1), Breaks(2), [Note(3), Note(4)]]).allow_failures(on_failure).dispatch()
    while line.waiting:
        payload, _ = line.waiting.pop(0)
        line.run(payload)
        line.run(payload)
    assert counts(batch) == (4, 3, 1, True)
    assert Counter(entry for entry in log if not isinstance(entry, int)) == Counter(
        {"before": 1, "progress": 4, "break 2": 2, "catch no 2": 1, "failure no 2": 1, "finally": 1}
    )
    assert told == ["BatchDispatched", "BatchStarted", "BatchFinished"]


def test_outcomes_told_twice_change_nothing(line: Line) -> None:
    batch = watched([Note(1), Breaks(2)]).dispatch()
    runs = [run for run in line.work() if not run.payload.event]
    for run in (*runs, *reversed(runs)):
        line.laraq.books.settle(run)
    line.work()
    assert counts(batch) == (2, 1, 1, True)
    assert Counter(log) == Counter(["before", 1, "break 2", "progress", "catch no 2", "finally"])


def test_a_success_that_comes_after_a_failure_repairs_it_and_not_the_other_way_round(line: Line) -> None:
    batch = watched([Note(1)]).allow_failures().dispatch()
    line.step()
    payload, _ = line.waiting.pop()
    line.laraq.books.failed(payload, ValueError("lost"))
    assert counts(batch) == (1, 0, 1, True)
    line.run(payload)
    assert counts(batch) == (1, 1, 0, True)
    line.laraq.books.failed(payload, ValueError("lost"))
    assert counts(batch) == (1, 1, 0, True)
    line.work()
    assert Counter(log) == Counter(["before", 1, "progress", "catch lost", "then", "finally"])
