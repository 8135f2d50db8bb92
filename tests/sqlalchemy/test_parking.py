from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Table, delete, select

from laraq.ports import Demand, Line, ParkedJob
from laraq.testing.suite import SharedParkingSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import limits, locks, parked_jobs, parking_lines
from tests.sqlalchemy.module_store import SERVERS, module_store

TABLES: tuple[Table, ...] = (locks, limits, parked_jobs, parking_lines)


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    for table in TABLES:
        shared_store.database.write(lambda connection, table=table: connection.execute(delete(table)))
    return shared_store


class TestSqlParking(SharedParkingSuite):
    @pytest.fixture
    def store(self, store: SqlStore) -> SqlStore:
        return store


def test_a_line_leaves_nothing_behind(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.parking, "call_again", 0.1)
    line = Line("app", None, ("limit",))
    assert store.parking.park(ParkedJob(line, "a", "message", demands=(Demand("limit", 1, 60),)))
    store.parking.sent([ParkedJob(line, "a", "message")])
    time.sleep(0.15)
    assert list(store.parking.due("app")[0]) == [line]
    store.parking.call(line)
    for table in (parked_jobs, parking_lines):
        assert store.database.read(lambda connection, table=table: connection.execute(select(table)).all()) == []
