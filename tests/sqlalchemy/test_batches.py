from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, delete, func, select

from laraq.messages.tally import BatchQuery, BatchRecord, MemberState
from laraq.testing.suite import SharedBatchesSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import batch_jobs, batch_loads, batches
from laraq_sqlalchemy.store import batch_records
from laraq_sqlalchemy.store.batches import SqlBatches
from tests.sqlalchemy.module_store import SERVERS, module_store
from tests.sqlalchemy.statements import Statements

TABLES = (batches, batch_jobs, batch_loads)


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    def empty(connection: Connection) -> None:
        for table in TABLES:
            connection.execute(delete(table))

    shared_store.database.write(empty)
    return shared_store


class TestSqlBatches(SharedBatchesSuite):
    @pytest.fixture
    def batches(self, store: SqlStore) -> SqlBatches:
        return store.batches


def rows(store: SqlStore) -> list[int]:
    """How many each table has."""

    def count(connection: Connection) -> list[int]:
        return [connection.scalars(select(func.count()).select_from(table)).one() for table in TABLES]

    return store.database.read(count)


def test_a_deleted_batch_leaves_nothing_behind(store: SqlStore) -> None:
    store.batches.create(BatchRecord(id="b"), ["j1", "j2"], 60)
    store.batches.add("b", "load", ["j3"], 60)
    store.batches.settle("b", MemberState.DONE, "j1")
    assert rows(store) == [1, 3, 2]
    assert store.batches.delete(BatchQuery()) == 1
    assert rows(store) == [0, 0, 0]


def test_what_a_killed_delete_left_is_seen_by_nobody_and_deleted_by_the_next(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.batches.create(BatchRecord(id="b"), ["j1", "j2"], 0)
    monkeypatch.setattr(batch_records, "_clear", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.batches.delete(BatchQuery())
    monkeypatch.undo()
    assert rows(store) == [1, 2, 0]
    assert store.batches.find("b") is None
    assert store.batches.settle("b", MemberState.DONE, "j1") is None
    assert store.batches.add("b", "load", ["j3"], 60) is None
    assert [*store.batches.all(), *store.batches.lapsed(), *store.batches.jobs("b", MemberState.PENDING)] == []
    assert store.batches.delete(BatchQuery(ids=())) == 0
    assert rows(store) == [0, 0, 0]


def interrupt(*_: object, **__: object) -> None:
    """As a signal does."""
    raise KeyboardInterrupt


def test_many_batches_and_a_large_one_are_deleted_page_by_page(store: SqlStore) -> None:
    for number in range(3):
        store.batches.create(BatchRecord(id=f"small {number}"), [f"j{job}" for job in range(number)], 60)
    store.batches.create(BatchRecord(id="large"), [f"j{number}" for number in range(2001)], 60)
    with Statements(store.database.engine) as statements:
        assert store.batches.delete(BatchQuery()) == 4
    assert rows(store) == [0, 0, 0]
    assert sum("DELETE FROM laraq_batch_jobs" in statement for statement in statements) > 2001 // 1000
