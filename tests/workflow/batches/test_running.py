"""A batch that goes well: its callbacks in their time, its places, and what its jobs know of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from cryptography.fernet import Fernet

from laraq import Bus, Context, Queue
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Again, Breaks, Note, counts, log, note, on_finally, on_then, watched, whose


@on_stores
def test_every_callback_is_called_when_its_time_has_come(line: Line, told: list[str]) -> None:
    batch = watched([Note(1), Note(2)]).dispatch()
    assert counts(batch) == (2, 0, 0, False)
    line.step()
    assert log == ["before"], "it was queued before the jobs"
    line.step()
    assert counts(batch) == (2, 1, 0, False)
    line.work()
    assert log == ["before", 1, 2, "progress", "progress", "then", "finally"]
    assert counts(batch) == (2, 2, 0, True)
    assert told == ["BatchDispatched", "BatchStarted", "BatchFinished"]


def test_callbacks_may_be_said_several_times_each_is_a_job_of_its_own(line: Line) -> None:
    batch = Bus.batch([Note(1)]).name("Import").finally_(on_finally).finally_(on_finally).then(on_then).dispatch()
    line.step()
    ids = [payload.id for payload, _ in line.waiting]
    assert [payload.carrier["shadow"] for payload, _ in line.waiting] == ["then of batch Import"]
    line.step()
    ids += [payload.id for payload, _ in line.waiting]
    assert len(set(ids)) == 3
    assert [payload.carrier["shadow"] for payload, _ in line.waiting] == ["finally of batch Import"] * 2
    line.work()
    assert log == [1, "then", "finally", "finally"]
    assert batch.fresh().finished


class OwnPlace(Note):
    queue = "own"
    connection = "other"


def test_jobs_and_callbacks_go_where_they_say_else_where_the_batch_says(line: Line) -> None:
    Queue.route(Note, queue="routed")
    watched([Note(1), OwnPlace(2), [Note(3), OwnPlace(4)]]).on_queue("q").on_connection("line").dispatch()
    line.work()
    places = {(payload.queue, payload.connection) for payload in line.taken}
    assert places == {("q", "line"), ("own", "other")}
    own = {payload.fields["n"] for payload in line.taken if payload.queue == "own"}
    assert own == {2, 4}


def test_a_delayed_job_of_a_batch_waits(line: Line) -> None:
    Bus.batch([Note(1).with_delay(60), [Note(2).with_delay(5), Note(3).with_delay(7)]]).dispatch()
    assert [delay for _, delay in line.waiting] == [60, 5]
    line.work()
    assert log == [1, 2, 3]


def test_a_job_knows_its_batch(line: Line) -> None:
    batch = Bus.batch([whose, [whose, whose]]).dispatch()
    whose.dispatch()
    line.work()
    assert log == [batch.id, batch.id, None, batch.id]
    batch = Bus.batch([whose]).dispatch()
    batch.delete()
    line.work()
    assert log[-1] is None
    assert Note(1).batch() is None


def test_the_context_travels_with_jobs_links_and_callbacks(line: Line) -> None:
    with Context.scope({"request": "r-1"}):
        watched([[Note(1), Note(2)], Breaks(3)]).dispatch()
    line.work()
    assert [payload.context for payload in line.taken] == [{"request": "r-1"}] * len(line.taken)


class Only(Note):
    unique = True


def test_unique_jobs_take_no_lock_in_a_batch(line: Line) -> None:
    batch = Bus.batch([Only(1), Only(2), [Note(3), Only(4), Only.si(5)]]).dispatch()
    assert not Only.dispatch(6).skipped
    line.work()
    assert counts(batch) == (5, 5, 0, True)
    assert sorted(log) == [1, 2, 3, 4, 5, 6]


def test_a_released_or_retried_job_counts_when_it_is_over(line: Line) -> None:
    batch = watched([Again(1)]).dispatch()
    line.step()
    line.step()
    assert counts(batch) == (1, 0, 0, False)
    line.work()
    assert counts(batch) == (1, 1, 0, True)
    assert Counter(log) == Counter(["before", 1, "progress", "then", "finally"])


@pytest.mark.parametrize("jobs", [[], [None, False], iter(())])
def test_an_empty_batch_finishes_at_once(line: Line, told: list[str], jobs: Any) -> None:
    batch = watched(jobs).dispatch()
    assert counts(batch) == (0, 0, 0, True)
    line.work()
    assert log == ["before", "then", "finally"]
    assert told == ["BatchDispatched", "BatchFinished"]
    assert batch.progress == 0


def test_what_follows_a_job_of_a_batch_by_with_chain_belongs_to_the_batch(line: Line) -> None:
    batch = Bus.batch([Note(1).with_chain([Note(2), Note(3)])]).dispatch()
    assert batch.total_jobs == 3
    line.work()
    assert counts(batch) == (3, 3, 0, True)
    assert [payload.batch_id for payload in line.taken] == [batch.id] * 3


def test_signed_closures_are_jobs_and_callbacks(store_url: str) -> None:
    with Line.attached(store=store_url, keys=[Fernet.generate_key().decode()]) as line:
        word = "closed over"
        pending = Bus.batch([lambda: note(word), [lambda: note(1), lambda: note(2)]])
        batch = pending.then(lambda batch: note(batch.processed_jobs)).catch(lambda batch, e: note(e)).dispatch()
        line.work()
        assert counts(batch) == (3, 3, 0, True)
    assert log == [word, 1, 2, 3]
