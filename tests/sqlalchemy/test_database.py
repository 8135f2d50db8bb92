from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from laraq.errors import ConfigurationError, StoreError
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.journal import running
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.store.database import Database


@pytest.fixture(params=["postgres", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def store(server_url: str) -> Iterator[SqlStore]:
    store = SqlStore.from_url(server_url)
    store.migrate()
    yield store
    store.close()


def cut_connections(url: str) -> None:
    """Have the server hang up on everybody in that database, as it does when it restarts."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        else:
            others = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            for id in connection.scalars(text(others)).all():
                connection.execute(text(f"KILL CONNECTION {id:d}"))
    engine.dispose()


def test_a_connection_the_server_cut_is_replaced_unnoticed(store: SqlStore, server_url: str) -> None:
    store.journal.write("host:1", [running("job-1")])
    cut_connections(server_url)
    store.journal.write("host:1", [running("job-2")])
    cut_connections(server_url)
    assert store.journal.find("job-2") == running("job-2")
    cut_connections(server_url)
    store.failed.record(failure())
    cut_connections(server_url)
    assert store.failed.forget("job-1") is True


def test_work_that_is_the_victim_of_a_deadlock_is_done_again(store: SqlStore) -> None:
    for id in ("job-1", "job-2"):
        store.failed.record(failure(id))
    both_hold_one = Barrier(2)
    tries: list[str] = []

    def lock_both(first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            tries.append(first)
            touch = text("UPDATE laraq_failed_jobs SET attempts = attempts + 1 WHERE id = :id")
            connection.execute(touch, {"id": first})
            if len(tries) <= 2:
                both_hold_one.wait(timeout=10)
            connection.execute(touch, {"id": second})

        store.database.write(work)

    threads = [Thread(target=lock_both, args=ids) for ids in (("job-1", "job-2"), ("job-2", "job-1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3
    assert [job.attempts for job in store.failed.all()] == [5, 5]


def test_a_server_that_is_down_is_named_without_the_password() -> None:
    store = SqlStore.from_url("postgresql://shop:secret@127.0.0.1:1/shop")
    with pytest.raises(StoreError, match=r"shop:\*\*\*@127\.0\.0\.1:1/shop failed: .*the server runs") as caught:
        store.failed.count()
    assert "secret" not in str(caught.value)


def test_a_sqlite_file_in_a_missing_folder_is_named(tmp_path: Path) -> None:
    store = SqlStore.from_url(f"sqlite:///{tmp_path}/none/laraq.db")
    with pytest.raises(StoreError, match=r"none/laraq\.db failed: unable to open"):
        store.failed.count()


def test_an_error_does_not_show_the_data_of_the_job(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    store = SqlStore(engine)
    store.migrate()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE laraq_failed_jobs"))
        connection.execute(text("CREATE TABLE laraq_failed_jobs (id INTEGER PRIMARY KEY)"))
    with pytest.raises(StoreError) as caught:
        store.failed.record(failure(payload={"card": "4111"}))
    assert "4111" not in str(caught.value)
    assert "4111" not in str(caught.value.__cause__)
    engine.dispose()


def test_a_database_nobody_tested_is_refused() -> None:
    class Oracle(SQLiteDialect_pysqlite):
        name = "oracle"
        supports_statement_cache = True

    registry.impls["fakeoracle"] = lambda: Oracle
    with pytest.raises(ConfigurationError, match="not on oracle"):
        Database(create_engine("fakeoracle://"))
