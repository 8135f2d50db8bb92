"""Transactions that lose against another are repeated inside of the store: nobody reconnects, nobody hears of it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from laraq.errors import ConfigurationError
from laraq_kombu import Lease, Posting
from laraq_sqlalchemy.broker.databases.mysql import MySqlStore
from laraq_sqlalchemy.broker.store import TableStore

Open = Callable[[str], TableStore]

#: Seconds of racing.
LENGTH = float(os.environ.get("LARAQ_RACE_SECONDS", "1.5"))


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def connection_of(store: Any) -> Any:
    """The one it works over; another one after a reconnect."""
    return store._connections.get("worker")


def test_the_victim_of_a_deadlock_tries_again(url: str, open_stores: Open) -> None:
    store = open_stores(url)
    store.put([Posting("q", "1"), Posting("q", "2")])
    first, second = (job.lease for job in store.step((), ["q"], 2).jobs)
    before = connection_of(store)
    other = create_engine(url)
    lock = text("UPDATE laraq_jobs SET payload = 'other' WHERE id = :id")
    with other.connect() as connection, ThreadPoolExecutor() as pool:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET deadlock_timeout = '15s'"))  # the victim is who looks for the deadlock first
        # The more a transaction has changed, the less MariaDB likes to take it back.
        filler = [{"n": n} for n in range(500)]
        connection.execute(
            text(
                "INSERT INTO laraq_jobs (queue, payload, available_at, created_at, attempts, priority)"
                " VALUES ('filler', 'x', :n, 0, 0, 0)"
            ),
            filler,
        )
        connection.execute(lock, {"id": second.id})
        lost = pool.submit(store.extend, [first, second])  # takes the first, waits for the second
        time.sleep(0.3)
        connection.execute(lock, {"id": first.id})
        connection.commit()
        assert lost.result(20) == []
    other.dispose()
    assert connection_of(store) is before


def test_eight_workers_in_a_small_table_do_not_hear_of_each_other(url: str, open_stores: Open) -> None:
    stores = [open_stores(url) for _ in range(8)]
    connections = [connection_of(store) for store in stores]
    done: list[int] = []
    ready, until = threading.Barrier(8), time.monotonic() + LENGTH

    def work(store: TableStore, chance: random.Random) -> None:
        acks = list[Lease]()
        ready.wait()
        while time.monotonic() < until:
            store.put([Posting("q", "x") for _ in range(20)])
            taken = [job.lease for job in store.step(acks, ["q"], 50).jobs]
            acks = [lease for lease in taken if chance.random() < 0.8]
            store.extend(acks)
            store.release([lease for lease in taken if lease not in acks], counted=False)
            done.extend(lease.id for lease in acks)
        store.step(acks, (), 0)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, store, random.Random(n)) for n, store in enumerate(stores)]:
            future.result(60)
    assert [connection_of(store) for store in stores] == connections
    assert len(done) == len(set(done)) > 0


def test_sessions_do_not_lock_the_gaps_producers_insert_into(mariadb_url: str, open_stores: Open) -> None:
    """Under REPEATABLE READ, the server's default, who reserves holds producers up until the commit."""
    store: Any = open_stores(mariadb_url)
    assert store._execute("SELECT @@session.tx_isolation") == [("READ-COMMITTED",)]
    engine = create_engine(mariadb_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT @@session.tx_isolation")) == "REPEATABLE-READ"
    engine.dispose()


def test_a_server_without_skip_locked_is_refused(mariadb_url: str, open_stores: Open) -> None:
    store = open_stores(mariadb_url)
    assert isinstance(store, MySqlStore)
    store._engine.dialect.server_version_info = (10, 5, 29)  # what such a server says
    with pytest.raises(ConfigurationError, match=r"MariaDB 10\.6 or MySQL 8\.0\.1, but .* is 10\.5\.29"):
        store.connect()
