from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import DatabaseError

from laraq.ports import Demand
from laraq.testing.suite import SharedLimitsSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import limits
from laraq_sqlalchemy.store.limits import SqlLimits
from tests.sqlalchemy.module_store import SERVERS, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    shared_store.database.write(lambda connection: connection.execute(delete(limits)))
    return shared_store


class TestSqlLimits(SharedLimitsSuite):
    @pytest.fixture
    def limits(self, store: SqlStore) -> SqlLimits:
        return store.limits


def test_the_table_itself_refuses_more_than_the_maximum(store: SqlStore) -> None:
    row = {"name": "key", "used": 2, "maximum": 1, "length": 1000, "ends_at": 0}
    with pytest.raises(DatabaseError, match="laraq_limits_within"), store.database.engine.begin() as connection:
        connection.execute(insert(limits), row)


def test_windows_that_ended_are_swept_now_and_then(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        store.limits.take([Demand(f"over {number}", 1, 0.01)])
    store.limits.take([Demand("live", 1, 1e9)])
    time.sleep(0.02)
    monkeypatch.setattr(store.limits._expired, "_next", time.monotonic())
    store.limits.take([Demand("other", 1, 1e9)])
    names = store.database.read(lambda connection: connection.scalars(select(limits.c.name)).all())
    assert sorted(names) == ["live", "other"]
