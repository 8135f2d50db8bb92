"""What a running job puts into its chain."""

from __future__ import annotations

import pytest

from laraq import Bus, current_job, job
from laraq.errors import NotInQueueError
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, caught, log, note, noted


def test_what_is_prepended_runs_next_and_what_is_appended_last(line: Line) -> None:
    class Adds(Note):
        def handle(self) -> None:
            note(self.n)
            self.append_to_chain(Note(8))
            self.prepend_to_chain(Note(4))
            self.prepend_to_chain(Note(2), [Note(3), None])
            self.append_to_chain([Note(9)], noted.job(10))

    Bus.chain([Adds(1), Note(5)]).on_queue("q").dispatch()
    line.work()
    assert log == [1, 2, 3, 4, 5, 8, 9, ("function", 10)]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_a_job_without_a_chain_can_begin_one(line: Line) -> None:
    @job
    def begins() -> None:
        current_job().append_to_chain(Note(2))
        current_job().prepend_to_chain(Note(1))

    begins.dispatch()
    line.work()
    assert log == [1, 2]


def test_a_repeated_run_adds_the_same_jobs(line: Line) -> None:
    """It died after it had sent the next link; its second life sends that one again, and nobody starts it twice."""

    class Adds(Note):
        def handle(self) -> None:
            self.prepend_to_chain(Note(2))

    Bus.chain([Adds(1), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    line.run(payload)
    line.run(payload)
    assert len(line.waiting) == 2
    assert len({payload.id for payload, _ in line.waiting}) == 1
    line.work()
    assert log == [2, 3]


def test_what_cannot_travel_fails_the_job_that_added_it(line: Line) -> None:
    class Adds(Note):
        def handle(self) -> None:
            self.prepend_to_chain(Note("two"))  # type: ignore[arg-type] # that is the point

    Bus.chain([Adds(1), Note(3)]).catch(caught).dispatch()
    line.work()
    assert [entry[:2] for entry in log] == [("caught", "InvalidJobError")]


def test_adding_needs_a_running_job() -> None:
    with pytest.raises(NotInQueueError, match="prepend_to_chain"):
        Note(1).prepend_to_chain(Note(2))
    with pytest.raises(NotInQueueError, match="append_to_chain"):
        Note(1).append_to_chain(Note(2))
