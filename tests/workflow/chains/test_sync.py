"""Chains that run where they are dispatched."""

from __future__ import annotations

import pytest

from laraq import Bus
from laraq.errors import ReleasedInSyncError
from tests.support.line import Line
from tests.workflow.chains.jobs import Breaks, Note, Quits, caught, log


def test_on_sync_the_whole_chain_runs_in_place_however_long_it_is() -> None:
    Bus.chain(Note(number) for number in range(2000)).on_connection("sync").dispatch()
    assert log == list(range(2000))


def test_on_sync_a_failed_link_reaches_the_caller_and_catch_is_called() -> None:
    with pytest.raises(ValueError, match="no 2"):
        Bus.chain([Note(1), Breaks(2), Note(3)]).on_connection("sync").catch(caught).dispatch()
    assert log == [1, "break 2", ("caught", "ValueError", "no 2")]


def test_on_sync_a_release_ends_the_chain() -> None:
    with pytest.raises(ReleasedInSyncError):
        Bus.chain([Quits(1, "release"), Note(3)]).on_connection("sync").catch(caught).dispatch()
    assert log == ["release 1 1", ("caught", "ReleasedInSyncError", str(ReleasedInSyncError(Quits.job_name(), 5)))]


def test_a_chain_may_change_connections_on_its_way(line: Line) -> None:
    Bus.chain([Note(1), Note(2).on_connection("sync"), Note(3).on_connection("line")]).dispatch()
    line.step()
    assert log == [1, 2]
    line.work()
    assert log == [1, 2, 3]


def test_dispatch_sync_runs_what_follows_where_it_belongs(line: Line) -> None:
    Note(1).with_chain([Note(2)]).dispatch_sync()
    assert log == [1]
    line.work()
    assert log == [1, 2]
