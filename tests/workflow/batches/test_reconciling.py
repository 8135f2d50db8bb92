"""What the reconciler does with batches that were left behind, and a store that is away for a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from laraq import Job
from laraq.errors import StoreError
from laraq.messages.tally import MemberState
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Note, counts, log, watched

DONE = MemberState.DONE


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
    assert "is cancelled: the process that was sending its jobs died" in caplog.text
    assert batch.cancelled
    assert counts(batch) == (0, 0, 0, True), "none of its jobs has run yet"
    line.work()
    assert counts(batch) == (2, 2, 0, True)
    assert Counter(log)["finally"] == 1


@pytest.mark.usefixtures("impatient")
def test_the_reconciler_of_one_app_sends_nothing_to_another(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.laraq.batches.store.settle(batch.id, DONE, line.taken[-1].id)  # whoever told it died right behind
    with Line.attached() as other:
        line.laraq.batches.reconcile()
        assert other.taken == []
    line.work()
    assert log == ["before", 1, "then", "progress", "finally"]


def test_the_reconciler_leaves_alone_what_is_under_way(line: Line) -> None:
    batch = watched([Note(1)]).dispatch()
    line.laraq.batches.store.add(batch.id, "load", ["j"], 60)
    line.laraq.batches.reconcile()
    assert not batch.fresh().cancelled
    assert counts(batch) == (2, 0, 0, False)


def test_a_store_that_is_away_for_a_moment_loses_no_count(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.running.persistence.PAUSES", (0, 0, 0))
    batch = watched([Note(1)]).dispatch()
    line.step()
    store = line.laraq.batches.store
    settle, failures = store.settle, [StoreError("down")] * 3

    def shaky(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return settle(*args, **options)

    monkeypatch.setattr(store, "settle", shaky)
    line.work()
    assert counts(batch) == (1, 1, 0, True)
    assert Counter(log) == Counter(["before", 1, "progress", "then", "finally"])
