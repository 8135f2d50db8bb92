from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select

from laraq.testing.suite import SharedLocksSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import locks
from laraq_sqlalchemy.store.locks import SqlLocks
from tests.sqlalchemy.module_store import SERVERS, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    shared_store.database.write(lambda connection: connection.execute(delete(locks)))
    return shared_store


class TestSqlLocks(SharedLocksSuite):
    @pytest.fixture
    def locks(self, store: SqlStore) -> SqlLocks:
        return store.locks


def test_a_lock_leaves_nothing_behind(store: SqlStore) -> None:
    store.locks.acquire("key", "a", 60)
    store.locks.acquire("key", "b", 60, 2)
    store.locks.release("key", "b")
    store.locks.release("key", "a")
    assert store.database.read(lambda connection: connection.execute(select(locks)).all()) == []


def test_leases_that_ended_are_swept_now_and_then(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        store.locks.acquire(f"over {number}", "killed", 0.01)
    store.locks.acquire("live", "a", 60)
    time.sleep(0.02)
    monkeypatch.setattr(store.locks._expired, "_next", time.monotonic())
    store.locks.acquire("other", "b", 60)
    names = store.database.read(lambda connection: connection.scalars(select(locks.c.name)).all())
    assert sorted(names) == ["live", "other"]
