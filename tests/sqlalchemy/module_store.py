"""module_store: one migrated store for all tests of a module, because making a database takes longer than the tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from laraq_sqlalchemy import SqlStore

SERVERS = ("sqlite", "postgres", "mariadb")


def module_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """For a fixture with `scope="module", params=SERVERS`; no other test of that module may ask for a database."""
    if request.param == "sqlite":
        folder = request.getfixturevalue("tmp_path_factory").mktemp("sqlite")
        url = f"sqlite:///{folder / 'laraq.sqlite3'}"
    else:
        database = request.getfixturevalue(f"{request.param}_database")
        database.create()
        url = database.url
    store = SqlStore.from_url(url)
    store.migrate()
    yield store
    store.close()


def emptied(store: SqlStore) -> SqlStore:
    """The store as the next test expects it."""
    store.failed.flush()
    store.journal.prune(timedelta(0))
    return store
