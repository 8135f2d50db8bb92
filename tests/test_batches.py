"""The life of batches: what is counted, which callbacks are due, and what crashes leave of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from cryptography.fernet import Fernet
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from laraq import (
    Batch,
    Bus,
    Context,
    Events,
    Job,
    Laraq,
    Queue,
    SkipIfBatchCancelled,
    current,
    current_job,
    events,
    job,
)
from laraq.batch import PendingBatch
from laraq.batches import CHUNK
from laraq.delivery import Release
from laraq.errors import BatchCancelledError, BatchNotFoundError, DispatchError, ReleasedInSyncError, StoreError
from laraq.payload import Payload
from laraq.tally import CLOSED, MemberState
from tests.support.line import Line

DONE = MemberState.DONE
log: list[Any] = []


class Note(Job):
    n: int

    def handle(self) -> None:
        log.append(self.n)


class OwnPlace(Note):
    queue = "own"
    connection = "other"


class Skippable(Note):
    def middleware(self) -> list[Any]:
        return [SkipIfBatchCancelled()]


class Breaks(Job):
    n: int = 0

    tries = 1

    def handle(self) -> None:
        log.append(f"break {self.n}")
        raise ValueError(f"no {self.n}")


class Repairable(Note):
    def handle(self) -> None:
        if "repaired" not in log:
            raise ValueError("out of order")
        log.append(self.n)


class Only(Note):
    unique = True


class Again(Note):
    """Needs two starts."""

    tries = 2

    def handle(self) -> None:
        if self.attempts == 1:
            raise ValueError("the first start")
        log.append(self.n)


class Adds(Job):
    numbers: list[int]

    def handle(self) -> None:
        batch = self.batch()
        assert batch is not None
        log.append(f"total {batch.total_jobs}, then {batch.add(Note(n) for n in self.numbers).total_jobs}")


@job
def whose() -> None:
    batch = current_job().batch()
    log.append(None if batch is None else batch.id)


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


def on_catch_of_the_chain(error: BaseException) -> None:
    log.append(f"chain: {error}")


def add_three(batch: Batch) -> None:
    log.append("then")
    batch.add([Note(3)])


def raises(batch: Batch) -> None:
    raise KeyError("callback")


def watched(jobs: Any) -> PendingBatch:
    """A batch whose every event is logged."""
    pending = Bus.batch(jobs).before(on_before).progress(on_progress).then(on_then).catch(on_catch)
    return pending.finally_(on_finally)


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    kind = getattr(request, "param", "memory")
    return "memory://" if kind == "memory" else request.getfixturevalue(f"{kind}_url")


on_stores = pytest.mark.parametrize("store_url", ["memory", "sqlite", "postgres", "redis"], indirect=True)


@pytest.fixture(autouse=True)
def line(store_url: str) -> Iterator[Line]:
    log.clear()
    with Line.attached(store=store_url) as line:
        line.laraq.migrate()
        yield line
        line.laraq.store.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The events of batches so far."""
    names: list[str] = []
    with Events.listening(events.BatchEvent, lambda event: names.append(type(event).__name__)):
        yield names


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.batches.CHUNK", 2)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes everything for left behind."""
    monkeypatch.setattr("laraq.batches.LOAD_SECONDS", 0)
    monkeypatch.setattr("laraq.batches.OVERDUE_SECONDS", 0)


def counts(batch: Batch) -> tuple[int, int, int, bool]:
    """Total, succeeded, failed, and whether every job is accounted for."""
    found = batch.fresh()
    return found.total_jobs, found.processed_jobs, found.failed_jobs, found.finished_at is not None


# A batch that goes well


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


def test_the_jobs_of_a_batch_are_sent_in_one_go(line: Line) -> None:
    Bus.batch(Note(number) for number in range(2 * CHUNK + 5)).dispatch()
    assert line.bulks == [CHUNK, CHUNK, 5]


def test_callbacks_may_be_said_several_times_each_is_a_job_of_its_own(line: Line) -> None:
    batch = Bus.batch([Note(1)]).name("Import").finally_(on_finally).finally_(on_finally).then(on_then).dispatch()
    line.step()
    ids = [payload.id for payload, _ in line.waiting]
    assert len(set(ids)) == 3
    assert [payload.carrier["shadow"] for payload, _ in line.waiting] == [
        "then of batch Import",
        "finally of batch Import",
        "finally of batch Import",
    ]
    line.work()
    assert log == [1, "then", "finally", "finally"]
    assert batch.fresh().finished


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


# Failures


@on_stores
def test_the_first_failure_cancels_the_batch_and_the_others_still_run(line: Line, told: list[str]) -> None:
    batch = watched([Breaks(1), Note(2), Breaks(3), Skippable(4)]).dispatch()
    line.step()
    line.step()
    assert batch.fresh().cancelled
    assert counts(batch) == (4, 0, 1, False)
    line.work()
    assert counts(batch) == (4, 2, 2, True)
    assert Counter(log) == Counter(
        ["before", "break 1", 2, "break 3", "catch no 1", "progress", "progress", "finally"]
    ), "4 was skipped, a success"
    assert told == ["BatchDispatched", "BatchStarted", "BatchCancelled", "BatchFinished"]
    assert batch.fresh().failed_job_ids == [payload.id for payload in line.taken if payload.job == Breaks.job_name()]


@on_stores
def test_allowed_failures_cancel_nothing_and_each_is_told(line: Line, told: list[str]) -> None:
    batch = watched([Breaks(1), Note(2), Breaks(3)]).allow_failures([on_failure, on_failure]).dispatch()
    line.work()
    assert not batch.fresh().cancelled
    assert counts(batch) == (3, 1, 2, True)
    assert Counter(log) == Counter(
        ["before", "break 1", 2, "break 3", "catch no 1", "finally"]
        + ["progress"] * 3
        + ["failure no 1", "failure no 3"] * 2
    )
    assert told == ["BatchDispatched", "BatchStarted", "BatchFinished"]


@pytest.mark.parametrize("breaking", [0, 1, 2], ids=["first", "middle", "last"])
def test_wherever_a_chain_breaks_its_batch_finishes(line: Line, breaking: int) -> None:
    jobs: list[Job] = [Note(0), Note(1), Note(2)]
    jobs[breaking] = Breaks(breaking)
    inner = Bus.chain(jobs).catch(on_catch_of_the_chain)
    batch = watched([inner, Note(9)]).allow_failures().dispatch()
    line.work()
    assert counts(batch) == (4, breaking + 1, 1, True)
    assert batch.fresh().pending_jobs == 3 - breaking
    assert Counter(log) == Counter(
        ["before", 9, *range(breaking), f"break {breaking}", f"catch no {breaking}", f"chain: no {breaking}", "finally"]
        + ["progress"] * (breaking + 2)
    )


def test_what_follows_a_job_of_a_batch_by_with_chain_belongs_to_the_batch(line: Line) -> None:
    batch = Bus.batch([Note(1).with_chain([Note(2), Note(3)])]).dispatch()
    assert batch.total_jobs == 3
    line.work()
    assert counts(batch) == (3, 3, 0, True)
    assert [payload.batch_id for payload in line.taken] == [batch.id] * 3


def test_an_expired_or_revoked_job_is_a_failure(line: Line) -> None:
    batch = watched([Note(1), [Note(2), Note(3)]]).allow_failures().dispatch()
    line.step()
    line.step()
    payload, _ = line.waiting.pop(0)
    line.laraq.runner.failed(payload, ValueError("it was revoked"))
    line.work()
    assert counts(batch) == (3, 1, 1, True)
    assert Counter(log) == Counter(["before", 1, "progress", "progress", "catch it was revoked", "finally"])


def test_on_sync_a_batch_is_over_when_dispatch_returns(told: list[str]) -> None:
    class Releases(Note):
        def handle(self) -> None:
            self.release(5)

    pending = watched([Note(1), Breaks(2), Releases(3), [Note(4), Note(5)]]).allow_failures().on_connection("sync")
    batch = pending.dispatch()
    assert counts(batch) == (5, 3, 2, True)
    assert [entry for entry in log if entry not in ("progress",)] == [
        "before",
        1,
        "break 2",
        "catch no 2",
        4,
        5,
        "finally",
    ]
    assert told == ["BatchStarted", "BatchDispatched", "BatchFinished"]
    with pytest.raises(ReleasedInSyncError):
        Releases(1).on_connection("sync").dispatch()


def test_the_error_of_an_encrypted_job_is_kept_from_the_callbacks(store_url: str) -> None:
    class Charge(Job):
        card: str

        encrypted = True

        def handle(self) -> None:
            raise ValueError(f"card {self.card} is refused")

    with Line.attached(store=store_url, keys=[Fernet.generate_key().decode()]) as line:
        pending = watched([Charge("4111"), [Note(1), Charge("4111")]]).allow_failures(on_failure)
        batch = pending.dispatch()
        line.work()
        assert counts(batch) == (3, 1, 2, True)
        assert "4111" not in json.dumps([payload.to_dict() for payload in line.taken])
        assert "4111" not in json.dumps(batch.fresh().to_dict())
    assert "catch builtins.ValueError" in log
    assert log.count("failure builtins.ValueError") == 2


def test_signed_closures_are_jobs_and_callbacks(store_url: str) -> None:
    with Line.attached(store=store_url, keys=[Fernet.generate_key().decode()]) as line:
        word = "closed over"
        pending = Bus.batch([lambda: _log(word), [lambda: _log(1), lambda: _log(2)]])
        batch = pending.then(lambda batch: _log(batch.processed_jobs)).catch(lambda batch, e: _log(e)).dispatch()
        line.work()
        assert counts(batch) == (3, 3, 0, True)
    assert log == [word, 1, 2, 3]


def _log(what: Any) -> None:
    """Pickled by name, so that a closure writes into this module's log and not into a copy."""
    log.append(what)


# Cancelling


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


# Adding


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


def test_a_callback_may_add_and_is_not_called_again(line: Line, told: list[str]) -> None:
    batch = Bus.batch([Note(1)]).then(add_three).finally_(on_finally).dispatch()
    line.work()
    assert log == [1, "then", "finally", 3]
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


# Brokers that fail in the middle


@on_stores
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_batch_that_could_not_be_sent_is_gone_and_what_was_sent_runs_without_it(
    line: Line, told: list[str], sent: int
) -> None:
    line.errors = [*[None] * sent, DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        Bus.batch(Note(n) for n in range(6)).then(on_then).finally_(on_finally).dispatch()
    assert line.laraq.batches.all() == []
    line.work()
    assert log == list(range(sent))
    assert told == []


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_whose_jobs_raise_while_they_are_made_is_gone(line: Line) -> None:
    def jobs() -> Iterator[Job]:
        yield from (Note(1), Note(2), Note(3))
        raise KeyError("of the generator")

    with pytest.raises(KeyError, match="of the generator"):
        Bus.batch(jobs()).dispatch()
    assert line.laraq.batches.all() == []


@on_stores
@pytest.mark.usefixtures("small_chunks")
def test_of_jobs_that_could_not_be_added_none_counts_but_those_that_were_sent(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.errors = [None, None, None, DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        batch.add(Note(n) for n in (2, 3, 4, 5, 6))
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == [1, 2, 3, 4]
    assert counts(batch) == (4, 4, 0, True)
    assert Counter(log)["finally"] == 1


@pytest.mark.usefixtures("small_chunks", "impatient")
def test_a_batch_whose_last_jobs_could_not_be_added_still_finishes(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()

    def jobs() -> Iterator[Job]:
        yield from (Note(2), Note(3))
        line.work()  # all others end while this load is under way
        yield Note(4)
        line.errors = [DispatchError("down")]

    with pytest.raises(DispatchError, match="down"):
        batch.add(jobs())
    line.laraq.batches.reconcile()
    line.work()
    assert counts(batch) == (3, 3, 0, True)
    assert (log.count("then"), log.count("finally")) == (1, 1)


# In memory


class Counting:
    """A connection that counts."""

    name = "counting"
    immediate = False
    count = 0

    def push(self, payload: Payload, delay: float = 0) -> None:
        self.count += 1

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        self.count += len(payloads)

    def default_queue(self) -> str:
        return "counting"


def test_a_hundred_thousand_jobs_are_sent_in_the_memory_of_a_chunk(sqlite_url: str) -> None:
    place, process = Counting(), psutil.Process()
    sizes: list[int] = []

    def jobs(total: int) -> Iterator[Job]:
        for made in range(total):
            assert made - place.count <= CHUNK
            if made % CHUNK == 0:
                sizes.append(process.memory_info().rss)
            yield Note(made)

    with Line.attached(store=sqlite_url, connections={"counting": place}, default="counting") as line:
        batch = Bus.batch(jobs(60_000)).dispatch()
        place.count = 0
        batch.add(jobs(40_000))
        assert batch.fresh().total_jobs == 100_000
        line.laraq.store.close()
    assert max(sizes) - sizes[1] < 40_000_000, "the jobs alone would take several times as much"


# Told twice


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
        line.laraq.runner.settle(run)
    line.work()
    assert counts(batch) == (2, 1, 1, True)
    assert Counter(log) == Counter(["before", 1, "break 2", "progress", "catch no 2", "finally"])


def test_a_success_that_comes_after_a_failure_repairs_it_and_not_the_other_way_round(line: Line) -> None:
    batch = watched([Note(1)]).allow_failures().dispatch()
    line.step()
    payload, _ = line.waiting.pop()
    line.laraq.runner.failed(payload, ValueError("lost"))
    assert counts(batch) == (1, 0, 1, True)
    line.run(payload)
    assert counts(batch) == (1, 1, 0, True)
    line.laraq.runner.failed(payload, ValueError("lost"))
    assert counts(batch) == (1, 1, 0, True)
    line.work()
    assert Counter(log) == Counter(["before", 1, "progress", "catch lost", "then", "finally"])


# Crashes


class Died(BaseException):
    """The process is gone, as after kill -9: nothing of it goes on."""


@dataclass
class Fate:
    """Lets the process die at one of its steps to the store and the broker, before or after it."""

    die_at: int
    after: bool
    steps: int = 0
    armed: bool = False
    dead: bool = False

    def over(self, thing: Any, *names: str) -> None:
        for name in names:
            setattr(thing, name, self._mortal(getattr(thing, name)))

    def _mortal(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Died  # what a dying process would still do in its `except` blocks
            self.steps += self.armed
            dies = self.armed and self.steps == self.die_at
            if dies and not self.after:
                self.dead = True
                raise Died
            answer = step(*args, **kwargs)
            if dies:
                self.dead = True
                raise Died
            return answer

        return call


STORE_STEPS = ("create", "add", "end_load", "settle", "cancel", "mark", "delete", "find")


def _fated(line: Line, die_at: int, after: bool) -> Fate:
    fate = Fate(die_at, after)
    fate.over(line.laraq.batches.store, *STORE_STEPS)
    fate.over(line, "push")
    return fate


def _work_through(line: Line, fate: Fate) -> None:
    """Workers take what waits; when one dies, its message is delivered again."""
    while line.waiting:
        payload, _ = line.waiting.pop(0)
        fate.armed = not payload.event
        try:
            line.run(payload)
        except Died:
            fate.dead = fate.armed = False
            line.run(payload, redelivered=True)
    fate.armed = False


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_worker_may_die_at_any_step_of_the_bookkeeping(after: bool) -> None:
    die_at, steps = 0, 1
    while die_at < steps:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            jobs = [Note(1), [Note(2), Breaks(0), Note(3)], Note(4), Bus.chain([Note(5), Note(6)])]
            batch = watched(jobs).allow_failures(on_failure).dispatch()
            fate = _fated(line, die_at, after)
            _work_through(line, fate)
            line.laraq.batches.reconcile()
            line.work()
            steps = fate.steps
            assert counts(batch) == (7, 5, 1, True), die_at
            seen = Counter(entry for entry in log if not str(entry).startswith(("break", "catch", "failure")))
            assert seen == Counter([1, 2, 4, 5, 6, "before", "finally", *["progress"] * 6]), die_at
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
            fate = _fated(line, die_at, after)
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
            fate = _fated(line, die_at, after)
            _work_through(line, fate)
            line.laraq.batches.reconcile()
            line.work()
            line.laraq.batches.reconcile()
            steps = fate.steps
            ran = [entry for entry in log if isinstance(entry, int)]
            assert {1, 2, 3} == set(ran), die_at
            assert counts(batch) == (len(ran) + 1, len(ran) + 1, 0, True), die_at
            assert (log.count("then"), log.count("finally")) == (1, 1), die_at
            assert log.count("progress") == len(ran) + 1, die_at


class _Loader(Job):
    tries = 0

    def handle(self) -> None:
        batch = self.batch()
        assert batch is not None
        batch.add(Note(n) for n in (1, 2, 3))


@on_stores
@pytest.mark.usefixtures("impatient", "small_chunks")
def test_the_reconciler_cancels_what_a_dead_sender_left_half_sent(
    line: Line, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(BaseException): ...

    def jobs() -> Iterator[Job]:
        yield from (Note(1), Note(2), Note(3))
        raise Gone

    service = line.laraq.batches
    delete = service.delete
    service.delete = lambda ids: 0  # type: ignore[method-assign] # a dead sender deletes nothing
    with pytest.raises(Gone):
        watched(jobs()).dispatch()
    service.delete = delete  # type: ignore[method-assign] # it is back
    service.reconcile()
    [batch] = service.all()
    assert "whoever sent its jobs died in the middle" in caplog.text
    assert batch.cancelled
    assert counts(batch) == (0, 0, 0, True), "none of its jobs has run yet"
    line.work()
    assert counts(batch) == (2, 2, 0, True)
    assert Counter(log)["finally"] == 1


@pytest.mark.usefixtures("impatient")
def test_the_reconciler_of_one_app_sends_nothing_to_another(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.laraq.batches.store.settle(batch.id, line.taken[-1].id, DONE)  # whoever told it died right behind
    with Line.attached() as other:
        line.laraq.batches.reconcile()
        assert other.taken == []
    line.work()
    assert log == ["before", 1, "then", "finally", "progress"]


def test_the_reconciler_leaves_alone_what_is_under_way(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.laraq.batches.store.add(batch.id, "load", ["j"], 60)
    line.laraq.batches.reconcile()
    assert not batch.fresh().cancelled
    assert counts(batch) == (2, 0, 0, False)


def test_a_store_that_is_away_for_a_moment_loses_no_count(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.persistence.PAUSES", (0, 0, 0))
    batch = watched([Note(1)]).dispatch()
    line.step()
    store = line.laraq.batches.store
    settle, failures = store.settle, [StoreError("down")] * 3

    def shaky(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return settle(*args)

    monkeypatch.setattr(store, "settle", shaky)
    line.work()
    assert counts(batch) == (1, 1, 0, True)
    assert Counter(log) == Counter(["before", 1, "progress", "then", "finally"])


# Repair


@on_stores
def test_retried_jobs_move_from_failed_to_done_and_then_is_told_once(line: Line, told: list[str]) -> None:
    batch = watched([Note(1), Repairable(2), [Repairable(3), Note(4)]]).dispatch()
    line.work()
    assert counts(batch) == (4, 1, 2, True)
    assert batch.fresh().pending_jobs == 3
    failed = batch.fresh().failed_job_ids
    log.clear()
    sent, lost = line.laraq.batches.retry(batch.id)
    assert (sorted(sent), lost) == (sorted(failed), [])
    assert counts(batch) == (4, 1, 0, False), "they are pending again"
    line.work()
    assert (counts(batch), log) == ((4, 1, 2, True), []), "it failed again: it was told already"
    log.append("repaired")
    line.laraq.batches.retry(batch.id)
    line.work()
    assert counts(batch) == (4, 4, 0, True)
    assert Counter(log) == Counter(["repaired", 2, 3, 4, "progress", "progress", "progress", "then"])
    assert told.count("BatchFinished") >= 2
    assert line.laraq.batches.retry(batch.id) == ([], [])
    assert line.laraq.failed.all() == []


def test_a_failed_job_whose_record_is_gone_cannot_be_retried_and_is_named(line: Line) -> None:
    batch = Bus.batch([Breaks(1), Breaks(2)]).finally_(raises).allow_failures().dispatch()
    line.work()
    kept, lost = batch.fresh().failed_job_ids
    assert len(line.laraq.failed.all()) == 3, "its callback failed, too"
    line.laraq.failed.forget(lost)
    assert line.laraq.batches.retry(batch.id) == ([kept], [lost])


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
        line.laraq.batches.retry("nobody")


# Batches in chains


def test_a_chain_goes_on_when_its_batch_has_finished(line: Line) -> None:
    step = Bus.batch([Note(2), [Note(3), Note(4)]]).then(on_then)
    sent = Bus.chain([Note(1), step, Note(5)]).catch(on_catch_of_the_chain).on_queue("q").dispatch()
    line.work()
    assert log == [1, 2, 3, 4, "then", 5]
    assert {payload.queue for payload in line.taken} == {"q"}
    assert [payload.carrier.get("root_id") for payload in line.taken if payload.fields == {"n": 5}] == [sent.id]


@pytest.mark.parametrize(
    ("batch", "chain", "places"),
    [
        (lambda it: it, lambda it: it, {None}),
        (lambda it: it, lambda it: it.on_queue("chain"), {"chain"}),
        (lambda it: it.on_queue("batch"), lambda it: it.on_queue("chain"), {"batch"}),
        (lambda it: it.on_queue("batch"), lambda it: it, {"batch"}),
    ],
)
def test_a_batch_in_a_chain_goes_where_it_says_else_where_the_chain_says(
    line: Line, batch: Any, chain: Any, places: set[str | None]
) -> None:
    chain(Bus.chain([Note(1), batch(Bus.batch([Note(2), [Note(3), Note(4)]]).finally_(on_finally))])).dispatch()
    line.work()
    assert {payload.queue for payload in line.taken if payload.batch_id} == places


@pytest.mark.parametrize("at", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("jobs", [[], [Note(7), Note(8)]], ids=["empty", "of two"])
def test_a_batch_may_be_any_link_of_a_chain(line: Line, at: int, jobs: list[Job]) -> None:
    links: list[Any] = [Note(1), Note(2)]
    links.insert(at, Bus.batch(jobs))
    Bus.chain(links).catch(on_catch_of_the_chain).dispatch()
    line.work()
    ours = [1, 2]
    ours[at:at] = [7, 8] if jobs else []
    assert log == ours


def test_batches_may_follow_each_other_in_a_chain(line: Line) -> None:
    Bus.chain([Bus.batch([Note(1)]), Bus.batch([]), Bus.batch([Note(2)]), Note(3)]).dispatch()
    line.work()
    assert log == [1, 2, 3]


def test_a_batch_that_fails_stops_its_chain(line: Line) -> None:
    step = watched([Breaks(1), Breaks(2), Note(3)])
    Bus.chain([step, Note(4)]).catch(on_catch_of_the_chain).dispatch()
    line.work()
    said = [entry for entry in log if entry in ("catch no 1", "chain: no 1", "finally")]
    assert said == ["catch no 1", "chain: no 1", "finally"]
    assert 4 not in log
    assert "chain: no 2" not in log


def test_a_chain_goes_on_after_a_batch_that_allows_failures(line: Line) -> None:
    Bus.chain([watched([Breaks(1)]).allow_failures(), Note(4)]).catch(on_catch_of_the_chain).dispatch()
    line.work()
    assert log[-1] == 4
    assert "chain: no 1" not in log


def test_a_batch_cancelled_by_hand_stops_its_chain_silently(line: Line) -> None:
    Bus.chain([watched([Note(1)]), Note(4)]).catch(on_catch_of_the_chain).dispatch()
    line.step()
    [batch] = line.laraq.batches.all()
    batch.cancel()
    line.work()
    assert counts(batch) == (1, 1, 0, True)
    assert 4 not in log
    assert not any(str(entry).startswith("chain") for entry in log)


def test_a_batch_whose_message_comes_twice_is_one_batch(line: Line) -> None:
    Bus.chain([watched([Note(1), Note(2)]), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    line.run(payload)
    line.run(payload)
    [batch] = line.laraq.batches.all()
    line.work()
    assert counts(batch) == (2, 2, 0, True)
    assert Counter(log) == Counter(["before", 1, 2, "progress", "progress", "then", "finally", 3])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_broker_that_fails_while_a_batch_in_a_chain_is_sent_does_not_end_the_chain(line: Line, sent: int) -> None:
    Bus.chain([watched([Note(1), Note(2), Note(3)]), Note(4)]).dispatch()
    line.errors = [*[None] * sent, DispatchError("down")]
    run = line.step()
    assert run is not None
    assert isinstance(run.verdict, Release)
    line.work()
    [batch] = line.laraq.batches.all()
    assert counts(batch) == (3, 3, 0, True)
    assert Counter(log) == Counter(["before", 1, 2, 3, "progress", "progress", "progress", "then", "finally", 4])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_worker_may_die_at_any_step_of_a_batch_in_a_chain(after: bool) -> None:
    die_at, steps = 0, 1
    while die_at < steps:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            Bus.chain([Note(1), Bus.batch([Note(2), Note(3)]).then(on_then), Note(4)]).dispatch()
            fate = _fated(line, die_at, after)
            _work_through(line, fate)
            line.laraq.batches.reconcile()
            line.work()
            steps = fate.steps
            assert Counter(log) == Counter([1, 2, 3, "then", 4]), die_at


def test_a_batch_in_a_chain_of_a_batch_does_not_keep_the_outer_one_from_finishing(line: Line) -> None:
    good = Bus.batch([Note(2)])
    bad = Bus.batch([Breaks(3)])
    outer = watched([[Note(1), good, Note(4)], [bad, Note(5), Note(6)]]).allow_failures().dispatch()
    assert outer.total_jobs == 6
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == [1, 2, 4]
    assert counts(outer) == (6, 4, 0, True)
    assert log.count("finally") == 1
    assert log.count("then") == 0


# Transactions


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def transactional(engine: Engine, tmp_path: Path) -> Iterator[tuple[Line, Any]]:
    """A line, and sessions whose commits it waits for."""
    sessions = sessionmaker(engine)
    with Line.attached(store=f"sqlite:///{tmp_path / 'store.db'}", sessions=sessions) as line:
        line.laraq.migrate()
        yield line, sessions
        line.laraq.store.close()


def order(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES (1)"))


def test_a_batch_may_wait_for_the_commit(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        batch = watched([Note(1), Note(2)]).after_commit().dispatch()
        assert line.taken == []
        assert (batch.total_jobs, Bus.find_batch(batch.id)) == (2, None)
        session.commit()
    assert len(line.taken) == 3
    line.work()
    assert counts(batch) == (2, 2, 0, True)


def test_a_batch_of_a_transaction_that_rolls_back_is_gone(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        batch = watched([Note(1)]).after_commit().dispatch()
        session.rollback()
    assert line.taken == []
    assert Bus.find_batch(batch.id) is None


def test_a_batch_that_says_nothing_does_not_wait(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        Bus.batch([Note(1)]).dispatch()
        assert len(line.taken) == 1
    Bus.batch([Note(2)]).after_commit().dispatch()
    assert len(line.taken) == 2


def test_a_chain_may_wait_for_the_commit(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    for end in ("rollback", "commit"):
        with sessions() as session:
            order(session)
            Bus.chain([Note(1), Note(2)]).after_commit().dispatch()
            assert line.taken == []
            getattr(session, end)()
    line.work()
    assert log == [1, 2]


@pytest.mark.same_file
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_on_the_embedded_default_a_batch_is_part_of_the_transaction_of_its_file(
    engine: Engine, tmp_path: Path, end: str
) -> None:
    sessions = sessionmaker(engine)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    app = Celery("t", broker=f"laraq-db+{url}", set_as_current=False)
    with Laraq(app, sessions=sessions, store=url) as laraq:
        laraq.migrate()
        with sessions() as session:
            order(session)
            batch = Bus.batch([Note(1), [Note(2), Note(3)]]).dispatch()
            assert Queue.size() == 0
            getattr(session, end)()
        assert Queue.size() == (2 if end == "commit" else 0)
        found = Bus.find_batch(batch.id)
        assert (found is not None) == (end == "commit")
        assert found is None or found.total_jobs == 3
        laraq.store.close()
    app.close()


# Pruning


def test_old_batches_are_pruned_by_how_they_ended(line: Line) -> None:
    finished, running, cancelled = (Bus.batch([Note(n)]).dispatch() for n in range(3))
    line.step()
    cancelled.cancel()
    later, before = datetime.now(UTC) + timedelta(seconds=1), datetime.now(UTC) - timedelta(hours=1)
    service = line.laraq.batches
    assert service.prune(before, before, before) == 0
    assert service.prune(before, cancelled_before=later) == 1
    assert {batch.id for batch in service.all()} == {finished.id, running.id}
    assert service.prune(later) == 1
    assert service.prune(before, unfinished_before=later) == 1
    assert service.all() == []
    line.work()
    assert log == [0, 1, 2], "their jobs run on without them"


def test_batches_are_counted_where_the_setting_says(tmp_path: Path, redis_url: str) -> None:
    file = f"sqlite:///{tmp_path / 'batches.db'}"
    with Line.attached(store=redis_url, batches=file) as line:
        batch = Bus.batch([Note(1)]).dispatch()
        assert line.laraq.store_of(file).batches.find(batch.id) is not None
        assert line.laraq.store.batches.find(batch.id) is None
        assert current() is line.laraq
        line.laraq.store_of(file).close()
        line.laraq.store.close()
