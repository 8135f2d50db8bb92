"""What a batch promises about the order of its callbacks, however many workers there are and however they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Batch, Bus, Events, Job, events
from laraq.errors import JobFailure
from laraq.messages.delivery import Crash, Delivery, Release
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq.messages.tally import FIRST_LOAD, BatchRecord, MemberState, Success
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.fate import Died, fated
from tests.workflow.batches.jobs import Breaks, Note, counts, log, on_before, on_finally, on_then, watched

FAILED = MemberState.FAILED


_BREAKS = Breaks.job_name()


def take(line: Line, wanted: Callable[[Payload], bool]) -> Payload:
    """The message that waits longest of those that are wanted."""
    found = next(entry for entry in line.waiting if wanted(entry[0]))
    line.waiting.remove(found)
    return found[0]


def event_of(name: str) -> Callable[[Payload], bool]:
    return lambda payload: payload.event == name


def is_member(payload: Payload) -> bool:
    return not payload.event


def fails(batch: Batch) -> None:
    log.append("fails")
    raise KeyError("callback")


def also(batch: Batch) -> None:
    log.append("also")


class Callback(Note):
    """Needs two starts."""

    tries = 2

    def handle(self) -> None:
        log.append(f"start {self.attempts}")
        if self.attempts == 1:
            self.release()


class Only(Note):
    unique = True


# Before


@on_stores
def test_no_job_starts_until_every_before_is_over(line: Line) -> None:
    batch = Bus.batch([Note(1), [Note(2), Note(3)]]).before(on_before).before(also).then(on_then).dispatch()
    members = [take(line, is_member), take(line, is_member)]
    for member in members:
        run = line.run(member)
        assert run is not None
        assert isinstance(run.verdict, Release)
        assert not run.verdict.counted
    line.run(take(line, event_of("before")))
    run = line.run(take(line, is_member))
    assert isinstance(run and run.verdict, Release), "another one is not over"
    line.work()
    assert (set(log[:2]), set(log[2:-1]), log[-1]) == ({"also", "before"}, {1, 2, 3}, "then")
    assert counts(batch) == (3, 3, 0, True)


@pytest.mark.parametrize("end", ["fails", "expires", "is cleared", "is lost", "has no class"])
def test_however_before_ends_the_jobs_start(line: Line, end: str) -> None:
    batch = Bus.batch([Note(1)]).before(fails).dispatch()
    finish(line, take(line, event_of("before")), end)
    line.work()
    assert [entry for entry in log if entry != "fails"] == [1]
    assert counts(batch) == (1, 1, 0, True)


def finish(line: Line, payload: Payload, end: str) -> None:
    """A message that ends without success."""
    runner, books = line.laraq.runner, line.laraq.books
    crash = {"expires": Crash("dropped", "expired"), "is lost": Crash("lost", "signal 9")}.get(end)
    match end:
        case "fails":
            line.run(payload)
        case "is cleared":
            line.laraq.discards.notify([payload], "was cleared from its queue")
        case "has no class":
            gone = payload.with_(job="nowhere.Gone", returns=99)
            books.settle(runner.run(Delivery(gone, 1, "line", "line")))
        case _:
            books.settle(runner.run(Delivery(payload, 1, "line", "line", crash)))


def test_tasks_of_the_host_are_sent_when_before_is_over() -> None:
    """No worker of ours looks at them before they start."""
    app = Celery("t", broker="memory://", set_as_current=False)

    @app.task(name="legacy")
    def legacy(n: int) -> None: ...

    with Line.attached(app) as line:
        batch = Bus.batch([Note(1), legacy.s(2), [legacy.s(3), Note(4)]]).before(on_before).dispatch()
        assert [payload.job for payload, _ in line.waiting if is_member(payload)] == [Note.job_name()]
        assert batch.total_jobs == 4
        line.step()
        assert [payload.job for payload, _ in line.waiting] == [Note.job_name(), "legacy", "legacy"]
        Bus.batch([legacy.s(5)]).dispatch()
        assert line.waiting[-1][0].job == "legacy", "without `before` nothing is held"


@on_stores
def test_held_jobs_are_sent_in_portions_each_once(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.workflow.held.AT_ONCE", 2)
    batch = Bus.batch([Note(n) for n in range(7)]).before(on_before).then(on_then).dispatch()
    held = [take(line, is_member) for _ in range(7)]
    for payload in held:
        line.laraq.batches.hold(batch.id, [Link(payload)])
    line.work()
    assert [entry for entry in log if isinstance(entry, int)] == list(range(7))
    assert (log[0], log[-1]) == ("before", "then")
    assert [payload.event for payload in line.taken].count("held") == 3
    late = [payload for payload in line.taken if is_member(payload)][-1]
    line.laraq.batches.hold(batch.id, [Link(late)])
    assert [payload.id for payload, _ in line.waiting] == [late.id], "before is over: it is sent at once"
    line.waiting.clear()


def test_jobs_that_before_adds_wait_for_it(line: Line) -> None:
    def starts_too_early() -> None:
        run = line.run(take(line, is_member))
        assert isinstance(run and run.verdict, Release)

    global _while_it_runs
    _while_it_runs = starts_too_early
    batch = Bus.batch([]).before(adds).then(on_then).dispatch()
    line.work()
    assert log == ["adds", 5, "then"]
    assert counts(batch) == (1, 1, 0, True)


_while_it_runs: Callable[[], None] = lambda: None  # noqa: E731 # set by the test


def adds(batch: Batch) -> None:
    log.append("adds")
    batch.add([Note(5)])
    _while_it_runs()


def test_a_deleted_batch_lets_its_jobs_go(line: Line) -> None:
    batch = Bus.batch([Note(1), Note(2)]).before(on_before).dispatch()
    line.laraq.batches.hold(batch.id, [Link(take(line, is_member))])
    batch.delete()
    line.work()
    assert sorted(log) == [1, 2]


def test_on_sync_before_is_first_as_well(line: Line) -> None:
    watched([Note(1), Note(2)]).on_connection("sync").dispatch()
    assert log == ["before", 1, "progress", 2, "progress", "then", "finally"]


def test_a_before_that_fails_on_sync_stops_nothing(line: Line) -> None:
    Bus.batch([Note(1)]).before(fails).then(fails).finally_(on_finally).on_connection("sync").dispatch()
    assert log == ["fails", 1, "fails", "finally"]


# Then and catch, before finally


@on_stores
def test_finally_starts_when_every_then_is_over(line: Line) -> None:
    Bus.batch([Note(1)]).then(on_then).then(also).finally_(on_finally).finally_(on_finally).dispatch()
    line.step()
    line.run(take(line, lambda payload: "also" in str(payload.fields)))
    assert [payload.event for payload, _ in line.waiting] == ["then"]
    line.work()
    assert log == [1, "also", "then", "finally", "finally"]


@pytest.mark.parametrize("end", ["fails", "expires", "is cleared", "is lost", "has no class"])
@pytest.mark.parametrize("event", ["then", "catch"])
def test_however_a_callback_ends_finally_starts_once(line: Line, event: str, end: str) -> None:
    pending = Bus.batch([Note(1) if event == "then" else Breaks(1)]).finally_(on_finally)
    (pending.then if event == "then" else pending.catch)(fails).dispatch()
    line.step()
    finish(line, take(line, event_of(event)), end)
    line.work()
    assert [entry for entry in log if entry == "finally"] == ["finally"]
    line.laraq.failed.retry("all")
    line.work()
    assert log.count("finally") == 1


def test_a_callback_that_is_a_job_is_over_after_its_last_start(line: Line) -> None:
    Bus.batch([Note(1)]).then(Callback(2)).finally_(on_finally).dispatch()
    line.work()
    assert log == [1, "start 1", "start 2", "finally"]


def test_a_callback_that_is_not_sent_keeps_nobody_waiting(line: Line) -> None:
    """The same unique job is queued already."""
    assert not Only.dispatch(7).skipped
    Bus.batch([Note(1)]).before(Only(2)).then(Only(3)).finally_(on_finally).dispatch()
    held = take(line, lambda payload: payload.job == Only.job_name())
    line.work()
    assert log == [1, "finally"]
    line.run(held)


@on_stores
@pytest.mark.parametrize("catch_first", [True, False])
def test_finally_starts_when_catch_is_over_early_or_late(line: Line, catch_first: bool) -> None:
    batch = watched([Breaks(1), Note(2), Note(3)]).dispatch()
    line.step()
    line.step()
    catch = take(line, event_of("catch"))
    if catch_first:
        line.run(catch)
        line.work()
    else:
        line.work()
        assert "finally" not in log
        assert counts(batch) == (3, 2, 1, True)
        line.run(catch)
        line.work()
    assert log.index("catch no 1") < log.index("finally")
    assert log[-1] == "finally"


def test_a_failure_that_is_counted_and_not_told_yet_keeps_finally_waiting(line: Line) -> None:
    """Who counted it is about to queue `catch`."""
    batch = watched([Breaks(1), Note(2)]).dispatch()
    line.step()
    payload = take(line, lambda payload: payload.job == Breaks.job_name())
    line.laraq.batches.store.settle(batch.id, FAILED, payload.id)
    line.work()
    assert log == ["before", 2, "progress"]
    line.laraq.batches.failed(payload, ValueError("late"))
    line.work()
    assert log[3:] == ["catch late", "finally"]


@on_stores
@pytest.mark.usefixtures("impatient")
def test_the_reconciler_tells_a_failure_whose_worker_died(line: Line) -> None:
    batch = watched([Breaks(1), Note(2)]).dispatch()
    line.step()
    payload = take(line, lambda payload: payload.job == Breaks.job_name())
    line.laraq.batches.store.settle(batch.id, FAILED, payload.id)
    line.work()
    for _ in range(2):
        line.laraq.batches.reconcile()
    line.work()
    assert log[3] == "catch A job of the batch failed, and its worker died before it reported the error"
    assert log[4:] == ["finally"]
    line.laraq.batches.failed(payload, ValueError("after all"))
    line.work()
    assert log[5:] == []


def test_a_batch_of_an_earlier_version_sends_all_at_once(line: Line) -> None:
    packed = {"call": {"function": "tests.workflow.batches.jobs.on_then", "code": None, "signature": None}}
    after = {"call": {"function": "tests.workflow.batches.jobs.on_finally", "code": None, "signature": None}}
    options = {"callbacks": {"before": [packed], "then": [packed], "finally": [after]}}
    wants = frozenset({"before", "then", "finally"})
    store = line.laraq.batches.store
    store.create(BatchRecord(id="old", wants=wants, options=options), ["job"], 60)
    store.end_load("old", FIRST_LOAD)
    assert not line.laraq.batches.is_before("old")
    line.laraq.batches.succeeded(Payload("job", Note.job_name(), batch_id="old"))
    assert [payload.event for payload, _ in line.waiting] == ["then", "finally"]
    line.work()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
def test_a_worker_may_die_at_any_step_of_a_callback(after: bool) -> None:
    die_at, steps = 0, 1
    while die_at < steps:
        die_at += 1
        log.clear()
        with Line.attached() as line:
            batch = watched([Note(1), Breaks(2)]).before(also).allow_failures().dispatch()
            fate = fated(line, die_at, after)
            while line.waiting:
                payload, _ = line.waiting.pop(0)
                fate.armed = bool(payload.event)
                try:
                    line.run(payload)
                except Died:
                    fate.dead = fate.armed = False
                    line.run(payload, redelivered=True)
            steps = fate.steps
            assert len({payload.id for payload in line.taken if payload.event == "finally"}) == 1, die_at
            lost = [failed.payload["laraq"]["event"] for failed in line.laraq.failed.all() if failed.job != _BREAKS]
            assert log.count("finally") + lost.count("finally") == 1, die_at
            assert "finally" in (log[-1], *lost), die_at
            assert not {"before", "also"} & set(log[log.index(1) :]), die_at
            assert counts(batch) == (2, 1, 1, True)
    assert steps > 10


# Counts


def seen(batch: Batch) -> None:
    log.append((batch.processed_jobs, batch.failed_jobs, batch.progress, batch.finished))


def seen_with(batch: Batch, error: BaseException) -> None:
    seen(batch)


class Sees(Job):
    def handle(self) -> None:
        batch = self.batch()
        assert batch is not None
        log.append(("job", batch.processed_jobs, batch.fresh().processed_jobs))


@on_stores
def test_progress_sees_the_counts_of_its_event_however_late_it_is_called(line: Line) -> None:
    Bus.batch([Note(n) for n in (1, 2, 3, 4)]).progress(seen).progress(Sees()).dispatch()
    for _ in range(4):
        line.run(take(line, is_member))
    log.clear()
    line.work()
    assert [entry for entry in log if entry[0] != "job"] == [
        (1, 0, 25, False),
        (2, 0, 50, False),
        (3, 0, 75, False),
        (4, 0, 100, True),
    ]
    assert [entry for entry in log if entry[0] == "job"] == [("job", n, 4) for n in (1, 2, 3, 4)]


def test_jobs_that_are_told_together_have_counts_of_their_own(line: Line) -> None:
    batch = Bus.batch([Note(n) for n in (1, 2, 3)]).progress(seen).dispatch()
    payloads = [take(line, is_member) for _ in range(3)]
    line.laraq.batches.succeeded_together(batch.id, [Success(one.id, one.run_key, {}) for one in payloads])
    line.work()
    assert [entry[0] for entry in log] == [1, 2, 3]


def test_failures_and_catch_see_the_counts_of_their_event(line: Line) -> None:
    pending = Bus.batch([Breaks(1), Note(2), Breaks(3)]).allow_failures(seen_with).progress(seen).catch(seen_with)
    pending.dispatch()
    for _ in range(3):
        line.run(take(line, is_member))
    log.clear()
    line.work()
    assert [entry[:2] for entry in log] == [(0, 1), (0, 1), (0, 1), (1, 1), (1, 2), (1, 2)]


def test_a_signature_as_callback_gets_the_counts_of_its_event() -> None:
    app = Celery("t", broker="memory://", set_as_current=False)

    @app.task(name="told")
    def told(facts: Any) -> None: ...

    with Line.attached(app) as line:
        Bus.batch([Note(1), Note(2)]).progress(told.s()).dispatch()
        line.step()
        line.step()
        assert [payload.args[0]["processed_jobs"] for payload, _ in line.waiting] == [1, 2]


# Events


@pytest.fixture
def cancelled() -> Iterator[list[Any]]:
    errors: list[Any] = []
    with Events.listening(events.BatchCancelled, lambda event: errors.append(event.error)):
        yield errors


def test_the_event_of_a_cancelled_batch_has_the_error(line: Line, cancelled: list[Any]) -> None:
    Bus.batch([Note(1)]).dispatch().cancel()
    Bus.batch([Breaks(2), Breaks(3)]).dispatch()
    line.work()
    assert [repr(error) for error in cancelled] == ["None", "ValueError('no 2')"]
    batch = Bus.batch([Note(4)]).dispatch()
    line.laraq.batches.failed_together(batch.id, [take(line, is_member)], JobFailure("cleared"))
    assert str(cancelled[-1]) == "cleared"


class Debounced(Note):
    debounce_for = 30


def test_debounced_jobs_are_jobs_like_any_other_in_a_batch(line: Line) -> None:
    """As unique ones: what a batch counts must run (Illuminate/Bus/Batch.php sends without locks)."""
    batch = Bus.batch([Debounced(1), Debounced(2), [Note(3), Debounced(4)]]).dispatch()
    batch.add([Debounced(5)])
    assert [delay for _, delay in line.waiting] == [0, 0, 0, 0]
    Debounced.dispatch(6)
    line.work()
    assert counts(batch) == (5, 5, 0, True)
    assert sorted(log) == [1, 2, 3, 4, 5, 6]


def test_a_debounced_link_of_a_chain_waits_and_ends_it_when_another_takes_its_place(line: Line) -> None:
    Bus.chain([Note(1), Debounced(2), Note(3)]).dispatch()
    line.step()
    assert [delay for _, delay in line.waiting] == [30]
    Debounced.dispatch(9)
    line.work()
    assert log == [1, 9]


def test_a_debounced_callback_whose_place_is_taken_keeps_nobody_waiting(line: Line) -> None:
    Bus.batch([Note(1)]).then(Debounced(2)).finally_(on_finally).dispatch()
    line.step()
    Debounced.dispatch(3)
    line.work()
    assert log == [1, 3, "finally"]
