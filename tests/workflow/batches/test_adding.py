"""Jobs that are added to a batch while it runs."""

from __future__ import annotations

from collections import Counter

import pytest

from laraq import Batch, Bus
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Adds, Again, Breaks, Note, counts, log, on_finally, on_then, watched, whose


@on_stores
def test_a_job_adds_to_its_batch_while_it_runs(line: Line) -> None:
    batch = watched([Adds([1, 2, 3])]).dispatch()
    line.work()
    assert Counter(log) == Counter(
        ["before", "total 1, then 4", 1, 2, 3, "progress", "progress", "progress", "progress", "then", "finally"]
    )
    assert counts(batch) == (4, 4, 0, True)


def test_chains_tasks_and_single_jobs_can_be_added(line: Line) -> None:
    batch = Bus.batch([Note(1)]).on_queue("q").dispatch()
    assert batch.add(Note(2)).total_jobs == 2
    assert batch.add([[Note(3), Note(4)], None, whose]).total_jobs == 5
    assert batch.add([]).total_jobs == 5
    assert batch.add(Bus.chain([Note(6), Note(7)])).total_jobs == 7
    assert batch.total_jobs == 1
    line.work()
    assert counts(batch) == (7, 7, 0, True)
    assert {payload.queue for payload in line.taken} == {"q"}


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_does_not_finish_while_jobs_are_still_added(line: Line) -> None:
    """The connection runs each job at once: all jobs that are there are over before the next ones are made."""
    batch = Bus.batch([Note(n) for n in range(5)]).then(on_then).on_connection("sync").dispatch()
    assert log == [0, 1, 2, 3, 4, "then"]
    log.clear()
    batch.add(Note(n) for n in range(5))
    assert log == [0, 1, 2, 3, 4], "then is told once"
    assert counts(batch) == (10, 10, 0, True)


def add_three(batch: Batch) -> None:
    log.append("then")
    batch.add([Note(3)])


def test_a_callback_may_add_and_is_not_called_again(line: Line, told: list[str]) -> None:
    batch = Bus.batch([Note(1)]).then(add_three).finally_(on_finally).dispatch()
    line.work()
    assert log == [1, "then", 3, "finally"], "`finally_` waits for `then`, and so for what it adds"
    assert counts(batch) == (2, 2, 0, True)
    assert told.count("BatchFinished") == 2


def test_links_that_a_job_puts_into_its_chain_are_members(line: Line) -> None:
    class Extends(Note):
        def handle(self) -> None:
            log.append(self.n)
            self.prepend_to_chain(Note(2))
            self.append_to_chain(Note(4), Breaks(5), Note(6))

    batch = watched([[Extends(1), Note(3)]]).dispatch()
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == [1, 2, 3, 4]
    assert {payload.batch_id for payload in line.taken} == {batch.id}
    assert counts(batch) == (5, 4, 1, True)
    assert Counter(log)["finally"] == 1


def test_what_a_failed_start_has_put_into_the_chain_is_no_member(line: Line) -> None:
    class Extends(Again):
        def handle(self) -> None:
            self.append_to_chain(Note(2))
            super().handle()

    batch = Bus.batch([Extends(1)]).dispatch()
    line.work()
    assert log == [1, 2]
    assert counts(batch) == (2, 2, 0, True)
