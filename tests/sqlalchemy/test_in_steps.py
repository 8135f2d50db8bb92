"""Locks and limits where SQL has no word for them: MySQL, played by MariaDB. (SQLite has its own tests.)"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from laraq.testing.suite import SharedLimitsSuite, SharedLocksSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import limits as limits_table
from laraq_sqlalchemy.schema.tables import locks as locks_table
from laraq_sqlalchemy.store.direct import Direct
from laraq_sqlalchemy.store.limits import SqlLimits
from laraq_sqlalchemy.store.locks import SqlLocks
from tests.support.sql_database import SqlDatabase


class InSteps(Direct):
    """Takes every server for one without words."""

    flavour = "mysql"


@pytest.fixture(scope="module")
def shared_store(mariadb_database: SqlDatabase) -> Iterator[SqlStore]:
    mariadb_database.create()
    store = SqlStore.from_url(mariadb_database.url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    with shared_store.database.engine.begin() as connection:
        for table in (locks_table, limits_table):
            connection.execute(delete(table))
    return shared_store


@pytest.fixture
def direct(store: SqlStore) -> Iterator[Direct]:
    direct = InSteps(store.database)
    yield direct
    direct.close()


class TestSqlLocksInSteps(SharedLocksSuite):
    tries = 2_000

    @pytest.fixture
    def locks(self, store: SqlStore, direct: Direct) -> SqlLocks:
        return SqlLocks(store.database, direct)


class TestSqlLimitsInSteps(SharedLimitsSuite):
    maximum = 5

    @pytest.fixture
    def limits(self, store: SqlStore, direct: Direct) -> SqlLimits:
        return SqlLimits(store.database, direct)
