"""Unique and debounced links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq import Bus, Events, events
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, log


class Only(Note):
    unique = True

    def unique_id(self) -> str:
        return str(self.n)


class Latest(Note):
    debounce_for = 30


@pytest.fixture
def skipped() -> Iterator[list[str]]:
    """Ids of unique jobs that were passed over."""
    ids: list[str] = []
    with Events.listening(events.UniqueJobSkipped, lambda event: ids.append(event.id)):
        yield ids


def test_a_link_whose_lock_is_held_is_passed_over_and_the_chain_goes_on(line: Line, skipped: list[str]) -> None:
    held = Only.dispatch(2)
    Bus.chain([Note(1), Only(2), Only(2), Note(3)]).dispatch()
    waiting = line.waiting.pop(0)
    line.work()
    assert log == [1, 3]
    assert len(skipped) == 2
    line.waiting.append(waiting)
    line.work()
    assert log == [1, 3, 2]
    assert waiting[0].id == held.id


def test_a_unique_link_takes_its_lock_when_it_is_sent_and_frees_it(line: Line, skipped: list[str]) -> None:
    Bus.chain([Note(1), Only(2), Note(3)]).dispatch()
    free = Only.dispatch(2)
    assert not free.skipped
    line.waiting.pop()
    line.laraq.unique.release(line.taken[-1].unique)
    line.step()
    assert Only.dispatch(2).skipped, "the link is queued and holds it"
    line.step()
    assert not Only.dispatch(2).skipped
    line.work()
    assert log == [1, 2, 3, 2]
    assert len(skipped) == 1


def test_a_first_job_that_is_there_already_takes_its_chain_along(line: Line, skipped: list[str]) -> None:
    Only.dispatch(1)
    assert Bus.chain([Only(1), Note(2)]).dispatch().skipped
    line.work()
    assert log == [1]
    assert len(skipped) == 1


def test_a_unique_link_that_is_sent_again_after_a_crash_is_not_its_own_rival(line: Line, skipped: list[str]) -> None:
    Bus.chain([Note(1), Only(2), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.books.settle(run)
    line.work()
    assert log == [1, 2, 3]
    assert skipped == []


def test_a_debounced_link_waits_and_the_last_one_runs(line: Line) -> None:
    Bus.chain([Note(1), Latest(2), Note(3)]).dispatch()
    line.step()
    assert [delay for _, delay in line.waiting] == [30]
    Latest.dispatch(9)
    line.work()
    assert log == [1, 9], "what followed the link does not follow the one that took its place"
