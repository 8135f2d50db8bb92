from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import create_engine, event, func, select, text

from laraq.errors import StoreError
from laraq.ports import Demand
from laraq.testing.suite.forking import in_children
from laraq.testing.suite.journal import running
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.store.direct import KEPT, Direct, LostRaceError
from tests.sqlalchemy.test_database import cut_connections

ONE = select(func.count())


@pytest.fixture
def store(sql_url: str) -> Iterator[SqlStore]:
    store = SqlStore.from_url(sql_url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def direct(store: SqlStore) -> Iterator[Direct]:
    direct = Direct(store.database)
    yield direct
    direct.close()


def test_one_connection_serves_one_thread(direct: Direct, store: SqlStore) -> None:
    opened: list[object] = []
    event.listen(store.database.engine, "checkout", lambda *_: opened.append(1))
    for _ in range(5):
        assert direct.run(ONE, {}, lambda result: result.scalar()) == 1
    assert len(opened) <= 2  # with the look at what server it is


def test_as_many_connections_stay_open_as_threads_needed_but_not_too_many(direct: Direct) -> None:
    together = Barrier(KEPT + 3)

    def use(number: int) -> object:
        return direct.run(ONE, {}, lambda result: (together.wait(timeout=20), result.scalar())[1])

    with ThreadPoolExecutor(KEPT + 3) as threads:
        assert list(threads.map(use, range(KEPT + 3))) == [1] * (KEPT + 3)
    assert len(direct._idle) == KEPT


def test_what_was_written_is_there_for_others_at_once(direct: Direct, store: SqlStore) -> None:
    row = text("INSERT INTO laraq_cache (name, value, ends_at) VALUES ('key', 'value', 1)")
    direct.run(row, {}, lambda result: None)
    assert store.database.read(lambda connection: connection.scalar(text("SELECT value FROM laraq_cache"))) == "value"


def test_a_broken_constraint_is_a_lost_race_and_the_connection_lives(direct: Direct) -> None:
    row = text("INSERT INTO laraq_cache (name, value, ends_at) VALUES ('key', 'value', 1)")
    direct.run(row, {}, lambda result: None)
    with pytest.raises(LostRaceError):
        direct.run(row, {}, lambda result: None)
    assert direct.run(ONE, {}, lambda result: result.scalar()) == 1


def test_an_error_of_the_server_is_a_store_error_and_the_connection_lives(direct: Direct) -> None:
    with pytest.raises(StoreError, match="failed"):
        direct.run(text("SELECT nonsense("), {}, lambda result: None)
    assert direct.run(ONE, {}, lambda result: result.scalar()) == 1


def test_a_connection_that_a_signal_cut_off_is_not_used_again(direct: Direct) -> None:
    class TimeIsUp(Exception):
        pass

    def interrupted(result: object) -> None:
        raise TimeIsUp

    with pytest.raises(TimeIsUp):
        direct.run(ONE, {}, interrupted)
    assert direct._idle == []
    assert direct.run(ONE, {}, lambda result: result.scalar()) == 1


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_connections_that_the_server_cut_are_replaced_unnoticed(server: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{server}_url")
    store = SqlStore.from_url(url)
    store.migrate()
    assert store.locks.acquire("key", "a", 60) is True
    cut_connections(url)
    assert store.locks.acquire("key", "b", 60) is False
    cut_connections(url)
    assert store.limits.take([Demand("key", 1, 1e9)])
    cut_connections(url)
    assert store.locks.release("key", "a") is True
    store.close()


@pytest.mark.parametrize("dialect", ["postgres", "mariadb", "sqlite"])
def test_a_forked_child_that_ends_leaves_the_connection_of_its_parent_alone(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from laraq_sqlalchemy import SqlStore\n"
        "store = SqlStore.from_url(sys.argv[1])\n"
        "store.migrate()\n"
        "assert store.locks.acquire('key', 'parent', 60)\n"
        "assert store.locks.owner('key') == 'parent'\n"
        "connection = store._direct._idle[0].connection.dbapi_connection\n"
        "if os.fork() == 0:\n"
        "    assert store.locks.owner('key') == 'parent'\n"
        "    sys.exit()  # as Python ends, not as os._exit does: what is left over is cleared away\n"
        "assert os.wait()[1] == 0\n"
        "assert store.locks.refresh('key', 'parent', 60) is True\n"
        "assert store._direct._idle[0].connection.dbapi_connection is connection\n"
        "store.close()\n"
    )
    url = request.getfixturevalue(f"{dialect}_url")
    ran = subprocess.run([sys.executable, program, url], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_engine_that_begins_sqlite_transactions_itself_is_borne(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)

    @event.listens_for(engine, "begin")
    def begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN")  # type: ignore[attr-defined]  # as in the documentation of SQLAlchemy

    mine, other = SqlStore(engine), SqlStore.from_url(sqlite_url)
    assert mine.locks.acquire("key", "a", 60) is True
    assert mine.limits.take([Demand("key", 1, 1e9)])
    mine.cache.put("key", "value", 60)
    assert other.locks.owner("key") == "a"
    assert other.limits.usage("key").used == 1
    assert other.cache.get("key") is not None
    assert mine.locks.release("key", "a") is True
    assert other.locks.acquire("key", "b", 60) is True
    mine.close()
    other.close()
    engine.dispose()


def test_mariadb_is_known_whatever_the_url_calls_it(mariadb_url: str) -> None:
    for scheme in ("mysql+pymysql", "mariadb+pymysql"):
        store = SqlStore.from_url(mariadb_url.replace("mysql+pymysql", scheme))
        direct = Direct(store.database)
        assert direct.flavour == "mariadb"
        direct.close()
        store.close()


def test_an_old_mariadb_is_spoken_to_as_mysql(mariadb_url: str) -> None:
    store = SqlStore.from_url(mariadb_url)
    direct = Direct(store.database)
    assert direct.flavour == "mariadb"
    store.database.engine.dialect.server_version_info = (10, 5, 29)
    assert direct.flavour == "mysql"
    store.close()


def test_a_table_with_another_constraint_is_no_endless_loop(postgres_url: str) -> None:
    store = SqlStore.from_url(postgres_url)
    store.migrate()
    with store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE laraq_limits ADD CHECK (used < 1)"))
    with pytest.raises(StoreError, match=r"table laraq_limits is as `laraq migrate` makes it"):
        store.limits.take([Demand("key", 5, 60)])
    store.close()


def test_kept_connections_end_when_the_engine_of_the_user_is_disposed(sql_url: str) -> None:
    engine = create_engine(sql_url)
    store = SqlStore(engine)
    store.migrate()
    store.journal.write("host:1", [running("job-1")])
    assert store._direct._idle
    in_children([lambda: store.journal.write("host:2", [running("job-2")])])
    assert store._direct._idle, "a child has disposed of its copy of the engine, not of this one"
    engine.dispose()
    assert not store._direct._idle
    assert store.journal.find("job-2") == running("job-2")
    store.close()
    engine.dispose()
