"""Where batches are kept, and how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from laraq import Bus, current
from tests.support.line import Line
from tests.workflow.batches.jobs import Note, log


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
