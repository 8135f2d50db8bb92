"""Servers for the tests: every test process has its own part of each, and every test finds that part empty.

A server that is missing skips the tests that need it, and fails them where CI=true.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from tests.support.claim import Claim

if TYPE_CHECKING:  # where a server is needed they are imported: `make core` has none of their clients
    from tests.support.redis_database import RedisDatabase
    from tests.support.sql_database import SqlDatabase
    from tests.support.virtual_hosts import VirtualHosts

# A loaded machine makes every strategy slow.
settings.register_profile("laraq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laraq")


def _server_url(name: str) -> str:
    from tests.support.servers import SERVERS, UnusableServerError

    try:
        return SERVERS[name].find()
    except UnusableServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def own_name() -> Iterator[str]:
    """Names this test process on servers that others use at the same time."""
    claim = Claim.first_free("process", range(1, 100))
    yield f"laraq_tests_{claim.number}"
    claim.free()


@pytest.fixture(scope="session")
def redis_database() -> Iterator[RedisDatabase]:
    from tests.support.redis_database import RedisDatabase

    database = RedisDatabase(_server_url("redis"))
    yield database
    database.close()


@pytest.fixture
def redis_url(redis_database: RedisDatabase) -> str:
    """An empty Redis database."""
    redis_database.empty()
    return redis_database.url


@pytest.fixture(scope="session")
def virtual_hosts(own_name: str) -> Iterator[VirtualHosts]:
    from tests.support.virtual_hosts import VirtualHosts

    hosts = VirtualHosts(_server_url("amqp"), own_name)
    yield hosts
    hosts.close()


@pytest.fixture
def amqp_url(virtual_hosts: VirtualHosts) -> str:
    """An empty RabbitMQ virtual host, where the tests may make one; use `queue_name` for when they may not."""
    return virtual_hosts.next_url()


@pytest.fixture
def queue_name() -> str:
    """A queue that no other test uses."""
    return f"q-{uuid4().hex[:12]}"


@pytest.fixture(params=["redis", "amqp"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def postgres_database(own_name: str) -> Iterator[SqlDatabase]:
    from tests.support.sql_database import SqlDatabase

    database = SqlDatabase(_server_url("postgres"), own_name)
    yield database
    database.drop()


@pytest.fixture
def postgres_url(postgres_database: SqlDatabase) -> str:
    """An empty PostgreSQL database."""
    postgres_database.create()
    return postgres_database.url


@pytest.fixture(scope="session")
def mariadb_database(own_name: str) -> Iterator[SqlDatabase]:
    from tests.support.sql_database import SqlDatabase

    database = SqlDatabase(_server_url("mariadb"), own_name)
    yield database
    database.drop()


@pytest.fixture
def mariadb_url(mariadb_database: SqlDatabase) -> str:
    """An empty MariaDB database."""
    mariadb_database.create()
    return mariadb_database.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'laraq.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
