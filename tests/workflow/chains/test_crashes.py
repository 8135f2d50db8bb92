"""Links that are sent twice, and brokers that are away."""

from __future__ import annotations

from typing import Any

import pytest

from laraq import Bus, Events, events
from laraq.errors import DispatchError
from tests.support.line import Line
from tests.workflow.chains.jobs import Breaks, Note, caught, log


def test_a_link_that_is_sent_twice_starts_once(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.books.settle(run)
    assert [each.id for each, _ in line.waiting] == [run.payload.chain["rest"][0]["id"]] * 2
    line.work()
    assert log == [1, 2, 3]


def test_a_catch_that_is_sent_twice_is_called_once(line: Line) -> None:
    Bus.chain([Breaks(1)]).catch(caught).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.books.settle(run)
    assert len(line.waiting) == 2
    line.work()
    assert log == ["break 1", ("caught", "ValueError", "no 1")]


def test_a_broker_that_is_away_for_a_moment_does_not_break_the_chain(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laraq.running.persistence.PAUSES", (0, 0, 0))
    Bus.chain([Note(1), Breaks(2)]).catch(caught).dispatch()
    line.errors = [DispatchError("down")] * 3
    line.step()
    line.errors = [DispatchError("down")] * 3
    line.work()
    assert log == [1, "break 2", ("caught", "ValueError", "no 2")]


def test_a_broker_that_stays_away_is_told_to_the_carrier_of_the_message(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laraq.running.persistence.PAUSES", (0,))
    processed: list[Any] = []
    Bus.chain([Note(1), Note(2)]).dispatch()
    line.errors = [DispatchError("down")] * 2
    with Events.listening(events.JobProcessed, processed.append), pytest.raises(DispatchError):
        line.step()
    assert processed == []
