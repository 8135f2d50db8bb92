from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from laraq.testing.suite import SharedDelayedSuite
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import delayed
from laraq_sqlalchemy.store.delayed import SqlDelayed
from tests.sqlalchemy.module_store import SERVERS, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


class TestSqlDelayed(SharedDelayedSuite):
    @pytest.fixture
    def delayed(self, shared_store: SqlStore) -> SqlDelayed:
        shared_store.database.write(lambda connection: connection.execute(delete(delayed)))
        return shared_store.delayed
