from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from laraq.testing.suite import SharedCacheSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import cache
from laraq_sqlalchemy.store.cache import SqlCache
from tests.sqlalchemy.module_store import SERVERS, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    shared_store.database.write(lambda connection: connection.execute(delete(cache)))
    return shared_store


class TestSqlCache(SharedCacheSuite):
    @pytest.fixture
    def cache(self, store: SqlStore) -> SqlCache:
        return store.cache
