"""BatchRecordsSuite: the half of BatchesSuite about the batches that are kept."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from laraq.messages.tally import CLOSED, BatchQuery, BatchRecord
from laraq.ports import Batches
from laraq.testing.suite.batch_counts import DONE, FAILED, LONG, PENDING, TICK, make, record
from laraq.testing.suite.forking import eventually

#: Seconds of a load whose end a test waits for.
SHORT = 0.1

#: What to find of `make_four`. Each third is also what to delete.
QUERIES: list[tuple[BatchQuery, list[str]]] = [
    (BatchQuery(), ["cancelled", "failed", "done", "open"]),
    (BatchQuery(ids=()), []),
    (BatchQuery(finished=False), ["cancelled", "open"]),
    (BatchQuery(finished=True, cancelled=True), ["failed"]),
    (BatchQuery(finished=True), ["failed", "done"]),
    (BatchQuery(cancelled=True), ["cancelled", "failed"]),
    (BatchQuery(ids=("open", "failed", "unknown", "open")), ["failed", "open"]),
    (BatchQuery(cancelled=False), ["done", "open"]),
    (BatchQuery(ids=("done", "open"), finished=False), ["open"]),
    (BatchQuery(limit=3), ["cancelled", "failed", "done"]),
    (BatchQuery(limit=0), []),
    (BatchQuery(limit=9), ["cancelled", "failed", "done", "open"]),
    (BatchQuery(finished=False, limit=1), ["cancelled"]),
]


class BatchRecordsSuite:
    """Part of BatchesSuite."""

    @pytest.fixture
    def batches(self) -> Batches:
        """Batches of which there are none; close their connections after the `yield`."""
        pytest.fail("Override the fixture `batches` to give Batches of which there are none.")

    def test_all_gives_the_newest_first(self, batches: Batches) -> None:
        for id in ("2", "3", "1"):
            make(batches, id=id)
            time.sleep(TICK)
        assert [batch.id for batch in batches.all()] == ["1", "3", "2"]
        assert list(batches.all()) == [record(batches, id) for id in ("1", "3", "2")]

    def test_a_query_narrows_all(self, batches: Batches) -> None:
        make_four(batches)
        for query, ids in QUERIES:
            found = batches.all(query)
            assert [batch.id for batch in found] == ids
            assert all(query.matches(batch) for batch in found)

    @pytest.mark.parametrize(("query", "ids"), QUERIES[::3])
    def test_a_query_narrows_delete(self, batches: Batches, query: BatchQuery, ids: list[str]) -> None:
        make_four(batches)
        assert batches.delete(query) == len(ids)
        assert {batch.id for batch in batches.all()} == {"open", "done", "failed", "cancelled"} - set(ids)

    @pytest.mark.parametrize(("part", "ids"), [("created_before", ["done", "open"]), ("finished_before", ["done"])])
    def test_a_moment_is_included(self, batches: Batches, part: str, ids: list[str]) -> None:
        make_four(batches)
        done = record(batches, "done")
        moment = done.created_at if part == "created_before" else done.finished_at
        assert moment is not None
        earlier = BatchQuery(**{part: moment - timedelta(microseconds=1)})  # type: ignore[arg-type]  # a moment
        assert [batch.id for batch in batches.all(earlier)] == ids[1:]
        query = BatchQuery(**{part: moment})  # type: ignore[arg-type]  # a moment
        assert [batch.id for batch in batches.all(query)] == ids
        assert batches.delete(query) == len(ids)

    def test_a_deleted_batch_leaves_nothing_to_do(self, batches: Batches) -> None:
        make(batches, "j1", id="finished")
        batches.settle("finished", DONE, "j1")
        batches.create(BatchRecord(id="loading"), ["j1"], 0)
        assert eventually(lambda: batches.lapsed())
        assert batches.delete(BatchQuery()) == 2
        assert [*batches.overdue(0), *batches.lapsed()] == []
        for id in ("finished", "loading"):
            assert batches.settle(id, DONE, "j1") is None
            assert list(batches.jobs(id, DONE)) == list(batches.jobs(id, PENDING)) == []

    def test_what_is_overdue_finished_that_long_ago_and_is_not_closed(self, batches: Batches) -> None:
        make_four(batches)
        assert list(batches.overdue(0)) == ["done", "failed"]
        assert list(batches.overdue(0, limit=1)) == ["done"]
        assert list(batches.overdue(LONG)) == []
        batches.mark("done", "then")
        batches.mark("done", CLOSED)
        assert list(batches.overdue(0)) == ["failed"]
        make(batches, "j1", id="fresh")
        batches.settle("fresh", DONE, "j1")
        assert eventually(lambda: list(batches.overdue(SHORT)) == ["failed", "fresh"])

    def test_a_load_lapses_when_nobody_continues_it(self, batches: Batches) -> None:
        make(batches, loaded=False)
        make(batches, id="other")
        assert list(batches.lapsed()) == []
        batches.add("b", "brief", [], SHORT)
        batches.add("other", 'odd "name"', [], 2 * SHORT)
        assert eventually(lambda: list(batches.lapsed()) == [("b", "brief"), ("other", 'odd "name"')])
        assert list(batches.lapsed(limit=1)) == [("b", "brief")]
        batches.add("b", "brief", [], LONG)
        assert list(batches.lapsed()) == [("other", 'odd "name"')]
        batches.end_load("other", 'odd "name"')
        assert list(batches.lapsed()) == []


def make_four(batches: Batches) -> None:
    """Batches that differ in everything a query can ask for; named by what became of them, the oldest first."""
    for id in ("open", "done", "failed", "cancelled"):
        make(batches, "j1", id=id)
        time.sleep(TICK)
    batches.settle("done", DONE, "j1")
    time.sleep(TICK)
    batches.settle("failed", FAILED, "j1")
    batches.cancel("cancelled")
