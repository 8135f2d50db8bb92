"""The stores of the database broker pass the suites of the transport core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from laraq_kombu.suite import BindingsSuite, OpenStore, QueuesSuite, ReservationsSuite
from laraq_sqlalchemy.broker.store import TableStore

Open = Callable[[str], TableStore]


class TestSqlite(ReservationsSuite, QueuesSuite, BindingsSuite):
    @pytest.fixture
    def open_store(self, open_stores: Open, sqlite_url: str) -> OpenStore:
        return lambda: open_stores(sqlite_url)


class TestPostgres(ReservationsSuite, QueuesSuite, BindingsSuite):
    @pytest.fixture
    def open_store(self, open_stores: Open, postgres_url: str) -> OpenStore:
        return lambda: open_stores(postgres_url)


class TestMariaDb(ReservationsSuite, QueuesSuite, BindingsSuite):
    @pytest.fixture
    def open_store(self, open_stores: Open, mariadb_url: str) -> OpenStore:
        return lambda: open_stores(mariadb_url)
