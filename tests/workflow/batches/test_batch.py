"""PendingBatch, what is said of a batch before it is sent, and Batch, what is seen of it afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Timer
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from laraq import Batch, Bus, Job, closure, job
from laraq.errors import (
    BatchCancelledError,
    BatchNotFoundError,
    BatchTimeoutError,
    ConfigurationError,
    InvalidJobError,
    JobDefinitionError,
)
from laraq.messages.tally import BatchRecord
from laraq.workflow.batch import PendingBatch
from tests.support.line import Line

log: list[Any] = []


class Note(Job):
    n: int

    def handle(self) -> None:
        log.append(self.n)


class Breaks(Job):
    def handle(self) -> None:
        raise ValueError("no")


@job
def noted(n: int) -> None:
    log.append(("function", n))


def by_name() -> None:
    log.append("by name")


def nothing(batch: Batch) -> None: ...


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line


def counted(**counts: Any) -> Batch:
    """A batch that a store has counted like that."""
    return Batch(BatchRecord(id="b", **counts), service=None)  # type: ignore[arg-type] # nobody asks the store


# What can be a job of a batch


def test_jobs_may_come_from_anything_that_gives_them(line: Line) -> None:
    batch = (
        Bus.batch(Note(number) for number in range(2))
        .add(Note(2))
        .add([Note(3), None])
        .add(iter([Note(4)]))
        .add((Note(5),))
        .add(noted.job(6))
        .add(Note.si(7))
        .add(by_name)
        .add(False)
        .dispatch()
    )
    line.work()
    assert log == [0, 1, 2, 3, 4, 5, ("function", 6), 7, "by name"]
    assert (batch.total_jobs, batch.fresh().processed_jobs) == (9, 9)


def test_anything_that_can_be_sent_can_be_a_job_of_a_batch(line: Line) -> None:
    class Plain(Job):
        def handle(self) -> None:
            log.append("class")

    batch = Bus.batch([None, Plain, noted.job(1), noted.si(2), by_name, closure(by_name), False]).dispatch()
    line.work()
    assert log == ["class", ("function", 1), ("function", 2), "by name", "by name"]
    assert batch.fresh().to_dict()["processed_jobs"] == 5


def test_a_single_job_need_not_be_put_into_a_list(line: Line) -> None:
    assert Bus.batch(Note(1)).dispatch().total_jobs == 1
    assert Bus.batch(noted.si(1)).dispatch().total_jobs == 1


def test_an_ordinary_task_is_a_job_of_a_batch() -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    app.task(name="legacy.task", shared=False)(by_name)
    with Line.attached(app) as line:
        batch = Bus.batch([app.signature("legacy.task", args=[1]), app.signature("legacy.task")]).dispatch()
        (first, _), (second, _) = line.waiting
        assert (first.job, first.args, first.batch_id) == ("legacy.task", (1,), batch.id)
        line.laraq.books.succeeded(first)
        line.laraq.books.failed(second, ValueError("of the task"))
    found = batch.fresh()
    assert (found.processed_jobs, found.failed_job_ids) == (1, [second.id])


@pytest.mark.parametrize(
    ("jobs", "error", "text"),
    [
        ([Note(1), 5], JobDefinitionError, "5 is not a job"),
        ([Note(1), Bus.batch([Note(2)])], JobDefinitionError, r"cannot be a job of a batch.*Bus\.chain\(\[Bus\.batch"),
        ([[Note(1), 5]], JobDefinitionError, "5 is not a job"),
        ([[]], JobDefinitionError, r"Bus.chain\(\[\]\) has no job"),
        ([Note(1), Note("two")], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([[Note(1), Note("two")]], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([Note(1), lambda: None], ConfigurationError, "laraq_keys"),
        ([chain(noted.si(1), noted.si(2))], JobDefinitionError, "Celery's chain cannot be"),
        ([group(noted.si(1), noted.si(2))], JobDefinitionError, "Celery's group cannot be"),
        ([chord([noted.si(1)], noted.si(2))], JobDefinitionError, "Celery's chord cannot be"),
    ],
)
def test_what_cannot_be_a_job_of_a_batch_is_refused_and_leaves_nothing(
    line: Line, jobs: list[Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Bus.batch(jobs).dispatch()
    assert line.taken == []
    assert line.laraq.batches.all() == []


@pytest.mark.parametrize("event", ["before", "progress", "then", "catch", "finally_", "allow_failures"])
def test_what_is_no_callback_is_refused_and_leaves_nothing(line: Line, event: str) -> None:
    with pytest.raises(JobDefinitionError, match=r"as a callback, got 'shop\.task'"):
        getattr(Bus.batch([Note(1)]), event)("shop.task").dispatch()
    with pytest.raises(ConfigurationError, match="laraq_keys"):
        getattr(Bus.batch([Note(1)]), event)(lambda batch: None).dispatch()
    assert line.taken == []
    assert line.laraq.batches.all() == []


# What is said of it


def test_a_batch_is_found_as_it_was_said() -> None:
    batch = Bus.batch([Note(1)]).name("Import").allow_failures().on_queue("q").on_connection("other")
    sent = batch.with_option("source", {"file": "a.csv"}).dispatch()
    found = Bus.find_batch(sent.id)
    assert found is not None
    assert found.to_dict() == sent.to_dict()
    assert (found.name, found.total_jobs) == ("Import", 1)
    assert found.options == {
        "queue": "q",
        "connection": "other",
        "allow_failures": True,
        "source": {"file": "a.csv"},
    }
    assert Bus.find_batch("nobody") is None


@pytest.mark.parametrize(
    ("say", "allowed", "told"),
    [
        (lambda it: it, False, 0),
        (lambda it: it.allow_failures(), True, 0),
        (lambda it: it.allow_failures(True), True, 0),
        (lambda it: it.allow_failures(False), False, 0),
        (lambda it: it.allow_failures(nothing), True, 1),
        (lambda it: it.allow_failures([nothing, nothing, None]), True, 2),
        (lambda it: it.allow_failures().allow_failures(False), False, 0),
    ],
)
def test_failures_may_be_allowed_with_or_without_callbacks(
    say: Callable[[PendingBatch], PendingBatch], allowed: bool, told: int
) -> None:
    pending = say(Bus.batch([]))
    assert (pending.failures_allowed, len(pending.callbacks.get("failure", []))) == (allowed, told)


def test_a_batch_is_sent_or_changed_under_a_condition(line: Line) -> None:
    pending = Bus.batch([Note(1)]).when(True, lambda it: it.name("a")).when(False, lambda it: it.name("b"))
    pending.unless(False, lambda it: it.add(Note(2))).unless(True, lambda it: it.add(Note(3)))
    assert pending.dispatch_if(False) is None
    assert pending.dispatch_unless(True) is None
    assert (line.taken, line.laraq.batches.all()) == ([], [])
    for sent in (pending.dispatch_if(True), pending.dispatch_unless(False)):
        assert sent is not None
        assert (sent.name, sent.total_jobs) == ("a", 2)


def test_a_batch_is_sent_from_a_coroutine(line: Line) -> None:
    batch = asyncio.run(Bus.batch([Note(1)]).adispatch())
    assert [payload.batch_id for payload in line.taken] == [batch.id]


# What is seen of it


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, 0, 0), (0, 3, 0), (1, 3, 33), (2, 3, 67), (3, 3, 100), (1, 1000, 0)]
)
def test_progress_is_the_percentage_that_succeeded(done: int, total: int, percent: int) -> None:
    progress = counted(done=done, total=total).progress
    assert (progress, type(progress)) == (percent, int)


def test_a_failure_does_not_lower_what_is_pending() -> None:
    batch = counted(total=10, done=3, failed=2, dropped=1)
    assert (batch.pending_jobs, batch.processed_jobs, batch.failed_jobs, batch.has_failures) == (7, 3, 2, True)
    assert not counted(total=1).has_failures


def test_a_cancelled_batch_counts_as_finished_but_has_no_end_yet() -> None:
    now = datetime.now(UTC)
    cancelled, finished = counted(cancelled_at=now), counted(finished_at=now)
    assert (cancelled.cancelled, cancelled.finished, cancelled.finished_at) == (True, True, None)
    assert (finished.cancelled, finished.finished, finished.finished_at) == (False, True, now)
    assert not counted().finished


def test_a_batch_as_json_says_what_laravels_says() -> None:
    batch = counted(total=3, done=1, failed=1, name="Import", created_at=datetime(2030, 1, 2, tzinfo=UTC))
    assert json.loads(json.dumps(batch.to_dict())) == {
        "id": "b",
        "name": "Import",
        "total_jobs": 3,
        "pending_jobs": 2,
        "processed_jobs": 1,
        "progress": 33,
        "failed_jobs": 1,
        "options": {"queue": None, "connection": None, "allow_failures": False},
        "created_at": "2030-01-02T00:00:00+00:00",
        "cancelled_at": None,
        "finished_at": None,
    }
    assert repr(batch) == "<Batch Import: 1 of 3, 1 failed>"
    assert repr(counted()) == "<Batch b: 0 of 0, 0 failed>"


def test_a_batch_is_what_was_counted_at_one_moment(line: Line) -> None:
    batch = Bus.batch([Note(1), Breaks()]).dispatch()
    line.work()
    assert (batch.processed_jobs, batch.failed_jobs, batch.finished) == (0, 0, False)
    fresh = batch.fresh()
    assert (fresh.processed_jobs, fresh.failed_jobs, fresh.finished, fresh.cancelled) == (1, 1, True, True)
    assert fresh.failed_job_ids == [line.taken[1].id]
    assert fresh.finished_at is not None
    assert fresh.created_at is not None
    assert fresh.created_at <= fresh.finished_at


def test_cancel_shows_on_the_batch_at_hand() -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.cancel()
    assert batch.cancelled
    assert batch.cancelled_at is not None
    assert not batch.finished_at
    with pytest.raises(BatchCancelledError, match=batch.id):
        batch.add([Note(2)])


def test_a_deleted_batch_is_not_found() -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.delete()
    batch.delete()
    assert Bus.find_batch(batch.id) is None
    for ask in (batch.fresh, batch.cancel, lambda: batch.add([Note(2)]), lambda: batch.wait(0)):
        with pytest.raises(BatchNotFoundError, match=batch.id):
            ask()


# Waiting


def test_wait_returns_the_finished_batch(line: Line) -> None:
    batch = Bus.batch([Note(1), Breaks()]).allow_failures().dispatch()
    work = Timer(0.05, lambda: _work(line))
    work.start()
    try:
        assert batch.wait(timeout=20) is batch
    finally:
        work.join()
    assert (batch.processed_jobs, batch.failed_jobs) == (1, 1)


def _work(line: Line) -> None:
    with line.laraq:
        line.work()


def test_wait_gives_up_after_its_time_and_says_how_far_it_is(line: Line) -> None:
    batch = Bus.batch([Note(1), Note(2), Note(3)]).dispatch()
    line.step()
    with pytest.raises(BatchTimeoutError, match=f"{batch.id}.*after 0 s: 2 of its jobs") as raised:
        batch.wait(timeout=0)
    assert isinstance(raised.value, TimeoutError)
    with pytest.raises(BatchTimeoutError, match=r"0\.1 s"):
        batch.wait(timeout=0.1)


def test_wait_does_not_take_a_cancelled_batch_for_finished(line: Line) -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.cancel()
    with pytest.raises(BatchTimeoutError):
        batch.wait(timeout=0)
    line.work()
    assert batch.wait(timeout=0).finished_at is not None


def test_wait_tells_how_far_it_is_after_each_look(line: Line) -> None:
    batch = Bus.batch([Note(1), Note(2)]).dispatch()
    seen: list[int] = []

    def look(batch: Batch) -> None:
        seen.append(batch.processed_jobs)
        line.step()

    batch.wait(timeout=20, progress=lambda batch: look(batch) if line.waiting else seen.append(batch.processed_jobs))
    assert seen == [0, 1, 2]


def test_wait_draws_a_bar_on_a_terminal_and_nothing_in_a_pipe(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    line.work()
    batch.wait(timeout=0, progress=True)
    assert capsys.readouterr() == ("", "")
