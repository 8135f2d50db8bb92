"""What can be a link, and when it is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from laraq import Bus, Context, Job, Skip, closure
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, Quits, by_name, caught, log, note, noted


def test_a_link_is_sent_when_the_one_before_it_has_succeeded(line: Line) -> None:
    sent = Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    assert [payload.id for payload, _ in line.waiting] == [sent.id]
    for number in (1, 2, 3):
        assert len(line.waiting) == 1
        line.step()
        assert log[-1] == number
    assert line.waiting == []


def test_every_link_has_its_uuid_from_the_start(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    ids = [link["id"] for link in line.taken[0].chain["rest"]]
    line.work()
    assert [payload.id for payload in line.taken[1:]] == ids
    assert len({payload.id for payload in line.taken}) == 3


def test_gaps_are_left_out_and_lists_are_spread(line: Line) -> None:
    Bus.chain([None, Note(1), False, [Note(2), [Note(3), None]], (Note(4),)]).dispatch()
    line.work()
    assert log == [1, 2, 3, 4]


def test_anything_that_can_be_sent_can_be_a_link(line: Line) -> None:
    class Plain(Job):
        def handle(self) -> None:
            note("class")

    Bus.chain([Note(1), noted.job(2), Plain, by_name, closure(by_name), Note.s(3), noted.si(4)]).dispatch()
    line.work()
    assert log == [1, ("function", 2), "class", "by name", "by name", 3, ("function", 4)]


def test_a_chain_tells_celery_who_is_whose_child(line: Line) -> None:
    sent = Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    line.work()
    first, second, third = line.taken
    assert (second.carrier["root_id"], second.carrier["parent_id"]) == (sent.id, first.id)
    assert (third.carrier["root_id"], third.carrier["parent_id"]) == (sent.id, second.id)


def test_a_link_is_created_when_it_is_sent_and_has_the_context_of_the_one_before(line: Line) -> None:
    with Context.scope({"request": "r-1"}):
        Bus.chain([Note(1), Note(2)]).catch(caught).dispatch()
    line.work()
    first, second = line.taken
    assert first.context == second.context == {"request": "r-1"}
    assert first.created_at is not None
    assert second.created_at is not None
    assert second.created_at > first.created_at
    assert "context" not in first.chain["rest"][0]["laraq"]


def test_the_retry_until_of_a_link_counts_from_its_own_first_start(line: Line) -> None:
    class Patient(Note):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    Bus.chain([Note(1), Patient(2)]).dispatch()
    assert "retry_until" not in line.taken[0].chain["rest"][0]["laraq"]
    line.step()
    assert line.taken[1].retry_until is None
    run = line.step()
    assert run is not None
    assert run.payload.retry_until is not None


@pytest.mark.parametrize("verb", ["delete", ""])
def test_a_link_that_succeeds_its_own_way_is_followed(line: Line, verb: str) -> None:
    Bus.chain([Quits(1, verb), Note(2)]).dispatch()
    line.work()
    assert log == [f"{verb} 1 1", 2, 100]


@pytest.mark.parametrize("verb", ["release", "raise"])
def test_a_link_that_goes_back_is_followed_once_and_its_additions_count_once(line: Line, verb: str) -> None:
    Bus.chain([Quits(1, verb), Note(2)]).catch(caught).dispatch()
    line.step()
    assert len(line.waiting) == 1
    line.work()
    assert log == [f"{verb} 1 1", f"{verb} 1 2", 2, 100]


class Skipped(Note):
    def middleware(self) -> list[Any]:
        return [Skip.when(True)]


def test_a_link_that_its_middleware_skips_is_followed(line: Line) -> None:
    Bus.chain([Skipped(1), Note(2)]).dispatch()
    line.work()
    assert log == [2]


class Never(Note):
    def prepare_for_dispatch(self) -> bool | None:
        return False


def test_a_link_may_cancel_its_own_dispatch(line: Line) -> None:
    Bus.chain([Note(1), Never(8), Note(2)]).dispatch()
    batch = Bus.batch([Never(8), [Never(8), Note(9)], [Note(3), Never(8)]]).dispatch()
    line.work()
    assert sorted(log) == [1, 2, 3]
    assert (batch.fresh().total_jobs, batch.fresh().finished) == (1, True)
    assert Bus.chain([Never(8), Note(9)]).dispatch().skipped
