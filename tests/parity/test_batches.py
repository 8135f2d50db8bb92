"""Batches"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from laraq import Batch, Bus, Events, Job, SkipIfBatchCancelled, events
from laraq.errors import BatchCancelledError, DispatchError, JobDefinitionError
from laraq.workflow.batch import PendingBatch
from tests.support.line import Line

parity = pytest.mark.parity
log: list[Any] = []


class Note(Job):
    n: int

    def handle(self) -> None:
        log.append(self.n)


class Fails(Note):
    def handle(self) -> None:
        raise ValueError(f"no {self.n}")


class Looks(Note):
    def middleware(self) -> list[Any]:
        return [SkipIfBatchCancelled()]


class Repairable(Note):
    def handle(self) -> None:
        if "repaired" not in log:
            raise ValueError("no")


class Only(Note):
    unique = True


def on_before(batch: Batch) -> None:
    log.append("before")


def on_progress(batch: Batch) -> None:
    log.append("progress")


def on_then(batch: Batch) -> None:
    log.append("then")


def on_catch(batch: Batch, error: BaseException) -> None:
    log.append(f"catch {error}")


def on_failure(batch: Batch, error: BaseException) -> None:
    log.append(f"failure {error}")


def on_finally(batch: Batch) -> None:
    log.append("finally")


def adds(batch: Batch) -> None:
    log.append("then")
    batch.add([Note(2)])


def raises(batch: Batch) -> None:
    raise KeyError("callback")


def watched(jobs: list[Any]) -> PendingBatch:
    pending = Bus.batch(jobs).before(on_before).progress(on_progress).then(on_then).catch(on_catch)
    return pending.finally_(on_finally)


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line


@parity("Jobs, closures, nested lists (which are chains), and Celery signatures are jobs of a batch; gaps are skipped.")
def test_members(line: Line) -> None:
    batch = Bus.batch([Note(1), None, [Note(2), Note(3)], False, Note.s(4)]).dispatch()
    line.work()
    assert (batch.total_jobs, sorted(log)) == (4, [1, 2, 3, 4])


@parity("A batch in a batch is rejected.")
def test_batch_in_a_batch() -> None:
    with pytest.raises(JobDefinitionError):
        Bus.batch([Bus.batch([Note(1)])]).dispatch()


@parity("`before` is called when the batch is created, `progress` for each success, then `then`, then `finally_`.")
def test_success(line: Line) -> None:
    watched([Note(1), Note(2)]).dispatch()
    line.work()
    assert Counter(log) == Counter(["before", 1, 2, "progress", "progress", "then", "finally"])
    assert (log[0], log[-2:]) == ("before", ["then", "finally"])


@parity("A success lowers `pending_jobs`, a failure does not; `progress` is the percentage that succeeded.")
def test_counts(line: Line) -> None:
    batch = Bus.batch([Note(1), Fails(2), Note(3)]).allow_failures().dispatch()
    line.work()
    found = batch.fresh()
    assert (found.total_jobs, found.pending_jobs, found.processed_jobs, found.failed_jobs) == (3, 1, 2, 1)
    assert (found.progress, len(found.failed_job_ids)) == (67, 1)


@parity("The first failure cancels the batch and calls `catch` with the error; queued jobs still run.")
def test_first_failure(line: Line) -> None:
    batch = watched([Fails(1), Note(2), Fails(3)]).dispatch()
    line.work()
    assert Counter(log) == Counter(["before", "catch no 1", 2, "progress", "finally"])
    assert batch.fresh().cancelled


@parity(
    "With `allow_failures` nothing is cancelled, `progress` is called for failures as well, and so are its callbacks."
)
def test_allowed_failures(line: Line) -> None:
    batch = watched([Fails(1), Note(2), Fails(3)]).allow_failures([on_failure]).dispatch()
    line.work()
    assert Counter(log) == Counter(
        ["before", "catch no 1", "failure no 1", "failure no 3", 2, *["progress"] * 3, "finally"]
    )
    assert not batch.fresh().cancelled


@parity("Cancelling does not stop jobs by itself: `SkipIfBatchCancelled` skips them, as a success.")
def test_cancel(line: Line) -> None:
    batch = watched([Note(1), Looks(2)]).dispatch()
    batch.cancel()
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == [1]
    assert batch.fresh().pending_jobs == 0


@parity("`then` is also called for a cancelled batch whose jobs all ended well.")
def test_then_of_a_cancelled_batch(line: Line) -> None:
    watched([Looks(1)]).dispatch().cancel()
    line.work()
    assert log == ["before", "progress", "then", "finally"]


@parity("`finished` is true of a cancelled batch, too.")
def test_finished() -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.cancel()
    assert batch.finished


@parity("A job adds jobs to its batch while it runs; they go to the queue of the batch.")
def test_add(line: Line) -> None:
    class Loads(Note):
        def handle(self) -> None:
            batch = self.batch()
            assert batch is not None
            batch.add([Note(2), [Note(3), Note(4)]])

    batch = Bus.batch([Loads(1)]).on_queue("q").dispatch()
    line.work()
    assert (log, batch.fresh().total_jobs) == ([2, 3, 4], 4)
    assert {payload.queue for payload in line.taken} == {"q"}


@parity("Unique jobs take no lock in a batch.")
def test_unique(line: Line) -> None:
    Bus.batch([Only(1), Only(2)]).dispatch()
    line.work()
    assert log == [1, 2]


@parity("A job that is released or retried counts when it is over.")
def test_released(line: Line) -> None:
    class Waits(Note):
        tries = 2

        def handle(self) -> None:
            if self.attempts == 1:
                self.release()

    batch = Bus.batch([Waits(1)]).dispatch()
    line.step()
    assert batch.fresh().processed_jobs == 0
    line.work()
    assert batch.fresh().processed_jobs == 1


@parity("When a batch cannot be sent, it is removed, and the error reaches the sender.")
def test_broker_down(line: Line) -> None:
    line.errors = [DispatchError("down")]
    with pytest.raises(DispatchError):
        Bus.batch([Note(1)]).dispatch()
    assert line.laraq.batches.all() == []


@parity("`laraq retry-batch` sends the failed jobs again, and `then` is called once all have succeeded.")
def test_retry(line: Line) -> None:
    batch = watched([Note(1), Repairable(2)]).dispatch()
    line.work()
    log.append("repaired")
    line.laraq.failed.retry_batch(batch.id)
    line.work()
    assert log[-2:] == ["progress", "then"]


@parity("The events `BatchDispatched`, `BatchStarted`, `BatchCancelled` and `BatchFinished` fire.")
def test_events(line: Line) -> None:
    told: list[str] = []
    with Events.listening(events.BatchEvent, lambda event: told.append(type(event).__name__)):
        Bus.batch([Fails(1), Note(2)]).dispatch()
        line.work()
    assert told == ["BatchDispatched", "BatchStarted", "BatchCancelled", "BatchFinished"]


@parity(
    "Callbacks are queued jobs with an id made from batch and event: a crash neither loses nor repeats one.",
    differs="Laravel calls them in the worker of the job that made the event happen.",
)
def test_callbacks_are_jobs(line: Line) -> None:
    batch = Bus.batch([Note(1)]).then(on_then).dispatch()
    run = line.step()
    assert run is not None
    line.laraq.books.settle(run)
    assert [payload.batch_id for payload, _ in line.waiting] == [batch.id]
    line.work()
    assert log == [1, "then"]


@parity(
    "A callback that fails is a failed job, and can be retried.",
    differs="Laravel reports its error and goes on; it cannot be called again.",
)
def test_failing_callback(line: Line) -> None:
    Bus.batch([Note(1)]).then(raises).finally_(on_finally).dispatch()
    line.work()
    assert log == [1, "finally"]
    assert "KeyError" in line.laraq.failed.all()[0].exception


@parity(
    "A job that is delivered twice counts once.",
    differs="Laravel counts it twice, and callbacks are called too early or again.",
)
def test_delivered_twice(line: Line) -> None:
    batch = watched([Note(1), Note(2)]).dispatch()
    line.step()
    payload, _ = line.waiting.pop(0)
    line.run(payload)
    line.run(payload)
    assert batch.fresh().pending_jobs == 1
    line.work()
    assert Counter(log)["then"] == 1


@parity(
    "A batch finishes, and calls `finally_`, also when a chain in it breaks: the jobs after it are given up.",
    differs="Laravel waits for them forever.",
)
def test_broken_chain(line: Line) -> None:
    batch = watched([[Fails(1), Note(2)], Note(3)]).allow_failures().dispatch()
    line.work()
    assert batch.fresh().finished_at is not None
    assert Counter(log)["finally"] == 1


@parity(
    "A batch with allowed failures gets a `finished_at`.",
    differs="Laravel's never gets one.",
)
def test_finished_with_failures(line: Line) -> None:
    batch = Bus.batch([Fails(1), Note(2)]).allow_failures().dispatch()
    line.work()
    assert batch.fresh().finished_at is not None


@parity(
    "An empty batch finishes at once and calls `then` and `finally_`.",
    differs="Laravel's never finishes.",
)
def test_empty(line: Line) -> None:
    batch = watched([]).dispatch()
    line.work()
    assert (batch.finished, log) == (True, ["before", "then", "finally"])


@parity(
    "`then` is called once, also when jobs are added after it.",
    differs="Laravel calls it each time nothing is pending, so a `then` that adds jobs calls itself.",
)
def test_then_once(line: Line) -> None:
    Bus.batch([Note(1)]).then(adds).dispatch()
    line.work()
    assert log == [1, "then", 2]


@parity(
    "A job that succeeds after `laraq retry-batch` moves from failed to done.",
    differs="Laravel's `failedJobs` is never lowered.",
)
def test_repaired_counts(line: Line) -> None:
    batch = Bus.batch([Repairable(1)]).dispatch()
    line.work()
    log.append("repaired")
    line.laraq.failed.retry_batch(batch.id)
    line.work()
    found = batch.fresh()
    assert (found.failed_jobs, found.failed_job_ids, found.pending_jobs) == (0, [], 0)


@parity(
    "Jobs cannot be added to a cancelled batch.",
    differs="Laravel adds and sends them.",
)
def test_add_to_a_cancelled_batch(line: Line) -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.cancel()
    with pytest.raises(BatchCancelledError):
        batch.add([Note(2)])


@parity(
    "A cancelled batch has a `finished_at` once its jobs are over.",
    differs="Laravel sets it when the batch is cancelled.",
)
def test_finished_at_of_a_cancelled_batch(line: Line) -> None:
    batch = Bus.batch([Note(1)]).dispatch()
    batch.cancel()
    assert batch.finished_at is None
    line.work()
    assert batch.fresh().finished_at is not None
