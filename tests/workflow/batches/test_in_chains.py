"""Batches that are links of a chain."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from laraq import Bus, Job
from laraq.errors import DispatchError
from laraq.messages.delivery import Release
from tests.support.line import Line
from tests.workflow.batches.fate import fated, work_through
from tests.workflow.batches.jobs import Breaks, Note, counts, log, on_catch_of_the_chain, on_finally, on_then, watched


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
    assert [entry for entry in log if entry in (4, "finally")] == [4, "finally"], "only that waits for `catch`"
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


def test_a_batch_that_is_forgotten_before_its_end_breaks_its_chain(line: Line) -> None:
    """Also as a member of another batch, which would wait for the links behind it for ever."""
    outer = watched([[Bus.batch([Note(2)]).name("inner"), Note(4)], Note(5)]).allow_failures().dispatch()
    Bus.chain([Bus.batch([Note(6)]).name("alone"), Note(7)]).catch(on_catch_of_the_chain).dispatch()
    while len([batch for batch in line.laraq.batches.all() if batch.name in ("inner", "alone")]) < 2:
        line.step()
    line.waiting = [one for one in line.waiting if one[0].fields.get("n") not in (2, 6)]  # they are lost
    for batch in line.laraq.batches.all():
        if batch.name in ("inner", "alone"):
            batch.delete()
    line.work()
    assert not {4, 7} & set(log)
    assert len([entry for entry in log if str(entry).startswith("chain: Batch alone was deleted")]) == 1
    assert counts(outer)[3] is True


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
            fate = fated(line, die_at, after)
            work_through(line, fate)
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
