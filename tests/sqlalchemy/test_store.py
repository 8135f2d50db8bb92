from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event

from laraq.errors import StoreError
from laraq.testing.suite import SharedStoreSuite
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.journal import running
from laraq_sqlalchemy import SqlStore


class TestSqlStore(SharedStoreSuite):
    @pytest.fixture
    def store(self, sql_url: str) -> Iterator[SqlStore]:
        store = SqlStore.from_url(sql_url)
        store.migrate()
        yield store
        store.close()


class TestStoreOnAnEngineOfTheUser(SharedStoreSuite):
    @pytest.fixture
    def store(self, sql_url: str) -> Iterator[SqlStore]:
        engine = create_engine(sql_url)
        store = SqlStore(engine)
        store.migrate()
        yield store
        engine.dispose()


def test_closing_a_store_leaves_the_engine_it_was_given_alone(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    pool = engine.pool
    SqlStore(engine).close()
    assert engine.pool is pool
    engine.dispose()


def test_an_engine_that_begins_sqlite_transactions_itself_is_borne(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)

    @event.listens_for(engine, "begin")
    def begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN")  # type: ignore[attr-defined]  # as in the documentation of SQLAlchemy

    store = SqlStore(engine)
    store.failed.record(failure())
    assert store.failed.forget("job-1") is True
    engine.dispose()


@pytest.mark.parametrize(
    "use", [lambda store: store.failed.record(failure()), lambda store: store.journal.find("job-1")]
)
def test_a_sqlite_store_makes_its_tables_when_it_is_first_used(
    sqlite_url: str, use: Callable[[SqlStore], object]
) -> None:
    store = SqlStore.from_url(sqlite_url)
    use(store)
    assert list(store.migrate()) == []
    store.close()


def test_a_sqlite_store_whose_file_was_deleted_starts_over(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore.from_url(sqlite_url)
    store.failed.record(failure())
    store.close()
    for file in tmp_path.iterdir():
        file.unlink()
    assert store.failed.find("job-1") is None
    store.journal.write("host:1", [running("job-1")])
    assert store.journal.find("job-1") == running("job-1")
    store.close()


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_a_server_without_tables_says_to_migrate(server: str, request: pytest.FixtureRequest) -> None:
    store = SqlStore.from_url(request.getfixturevalue(f"{server}_url"))
    with pytest.raises(StoreError, match="run `laraq migrate`"):
        store.failed.record(failure())
    with pytest.raises(StoreError, match="run `laraq migrate`"):
        store.journal.find("job-1")
    store.close()
