"""What a database will never take is told from a database that is away, full or read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text

from laraq.errors import StoreError, StoreRefusedError
from laraq.testing.suite.failed_jobs import failure
from laraq_sqlalchemy import SqlStore


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def engine(kind: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = create_engine(request.getfixturevalue(f"{kind}_url"))
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[SqlStore]:
    store = SqlStore(engine)
    store.migrate()
    yield store
    store.close()


#: What no database takes, or some do not: those must keep it or say that they never will.
ODD: dict[str, Callable[[SqlStore], object]] = {
    "a number beyond 32 bits": lambda store: store.failed.record(failure(attempts=2**31)),
    "a number beyond 64 bits": lambda store: store.failed.record(failure(attempts=2**80)),
    "a long id": lambda store: store.failed.record(failure("x" * 300)),
    "NUL": lambda store: store.failed.record(failure("a\0b")),
    "half a surrogate pair": lambda store: store.failed.record(failure("a\udc80")),
    "an id that is no text": lambda store: store.failed.record(replace(failure(), id=uuid4())),
    "a queue that is a list": lambda store: store.failed.record(failure(queue=["a"])),
    "no queue": lambda store: store.failed.record(failure(queue=None)),
    "a text beyond a packet": lambda store: store.failed.record(failure(exception="x\n" * 9_000_000)),
    "a cached text beyond a packet": lambda store: store.cache.put("a", "x" * 17_000_000, 60),
    "a claim of NUL": lambda store: store.journal.claim("a\0b", 2),
    "a claim beyond 32 bits": lambda store: store.journal.claim("a", 2**40),
    "a lock of half a pair": lambda store: store.locks.acquire("a\udc80", "owner", 60),
    "an owner of NUL": lambda store: store.locks.acquire("a", "ow\0ner", 60),
    "a count beyond 64 bits": lambda store: store.cache.increment("a", 2**70, 60),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_value_is_taken_or_refused_for_good(store: SqlStore, odd: str) -> None:
    with suppress(StoreRefusedError):
        ODD[odd](store)
    store.failed.record(failure("an ordinary one"))
    assert store.failed.find("an ordinary one") is not None


def test_a_server_out_of_reach_is_an_outage(kind: str, tmp_path: Path) -> None:
    urls = {"postgres": "postgresql+psycopg://a@127.0.0.1:1/a", "mariadb": "mysql+pymysql://a@127.0.0.1:1/a"}
    store = SqlStore.from_url(urls.get(kind, f"sqlite:///{tmp_path}/none/laraq.db"))
    with pytest.raises(StoreError) as caught:
        store.failed.record(failure())
    assert not isinstance(caught.value, StoreRefusedError)


#: What makes a database refuse writes for now: a statement for each new connection.
NOT_NOW = {
    "sqlite": "PRAGMA query_only = on",
    "postgres": "SET default_transaction_read_only = on",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def test_a_database_that_lets_nobody_write_now_is_an_outage(store: SqlStore, engine: Engine, kind: str) -> None:
    store.close()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def forbid(connection: Any, record: object) -> None:
        connection.cursor().execute(NOT_NOW[kind])
        if kind != "sqlite":
            connection.commit()

    for write in (
        lambda: store.failed.record(failure()),
        lambda: store.journal.write("a", []),
        lambda: store.locks.acquire("a", "owner", 60),
    ):
        with pytest.raises(StoreError) as caught:
            write()
        assert not isinstance(caught.value, StoreRefusedError)


def test_a_full_sqlite_database_is_an_outage(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    store = SqlStore(engine)
    store.migrate()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def fill(connection: Any, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    with pytest.raises(StoreError, match="full") as caught:
        store.failed.record(failure(exception="x" * 100_000))
    assert not isinstance(caught.value, StoreRefusedError)
    engine.dispose()


def test_too_many_connections_are_an_outage(postgres_url: str) -> None:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    user = f"laraq_{uuid4().hex[:8]}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {user} LOGIN PASSWORD 'x' CONNECTION LIMIT 0"))
        try:
            store = SqlStore.from_url(
                make_url(postgres_url).set(username=user, password="x").render_as_string(hide_password=False)
            )
            with pytest.raises(StoreError, match="too many connections") as caught:
                store.failed.record(failure())
            assert not isinstance(caught.value, StoreRefusedError)
        finally:
            connection.execute(text(f"DROP ROLE {user}"))
    engine.dispose()
