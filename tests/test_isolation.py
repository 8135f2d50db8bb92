"""Every test process has its own part of each server, and every test finds it empty."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.connection import Connection
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from tests.support.claim import Claim
from tests.support.redis_database import RedisDatabase
from tests.support.sql_database import SqlDatabase
from tests.support.virtual_hosts import VirtualHosts


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_a_database_is_made_anew_although_a_transaction_was_left_open(
    server: str, request: pytest.FixtureRequest
) -> None:
    database: SqlDatabase = request.getfixturevalue(f"{server}_database")
    database.create()
    engine = create_engine(database.url)
    with pytest.raises(DBAPIError), engine.connect() as connection:  # noqa: PT012 - the end of the block may raise too
        connection.execute(text("CREATE TABLE jobs (id INTEGER)"))
        connection.commit()
        connection.execute(text("SELECT * FROM jobs"))
        database.create()
        connection.execute(text("SELECT * FROM jobs"))
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_redis_database_is_never_the_one_people_use(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.connection_pool.connection_kwargs["db"] > 0


def test_two_processes_have_two_redis_databases(redis_database: RedisDatabase) -> None:
    other = RedisDatabase(redis_database.url)
    assert other.url != redis_database.url
    other.close()


def test_every_virtual_host_is_fresh(virtual_hosts: VirtualHosts) -> None:
    first, second = virtual_hosts.next_url(), virtual_hosts.next_url()
    if first == second:
        pytest.skip("rabbitmqctl may not be used here")
    with simple_queue(first) as queue:
        queue.put("left behind")
    with simple_queue(second) as queue:
        assert queue.qsize() == 0


def test_a_claimed_number_is_taken_until_it_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = Claim.first_free("number", [1, 2]), Claim.first_free("number", [1, 2])
    assert (first.number, second.number) == (1, 2)
    with pytest.raises(LookupError, match="taken"):
        Claim.first_free("number", [1, 2])
    first.free()
    again = Claim.first_free("number", [1, 2], fits=lambda number, used_by_tests: used_by_tests)
    assert again.number == 1
    again.free()
    second.free()


def test_a_number_that_does_not_fit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    claimed = Claim.first_free("number", [1, 2], fits=lambda number, used_by_tests: number == 2)
    assert claimed.number == 2
    claimed.free()


@contextmanager
def simple_queue(url: str) -> Iterator[Any]:
    with Connection(url) as connection, connection.SimpleQueue("mails") as queue:  # type: ignore[no-untyped-call]  # kombu is half typed
        yield queue
