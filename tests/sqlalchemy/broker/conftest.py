from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from laraq_kombu.suite import RETRY_AFTER
from laraq_sqlalchemy.broker import register
from laraq_sqlalchemy.broker.store import TableStore, open_store

register()


@pytest.fixture
def open_stores() -> Iterator[Callable[[str], TableStore]]:
    """Opens stores on the database at a URL, tables made; all are closed after the test."""
    opened: list[TableStore] = []

    def open_one(url: str) -> TableStore:
        store = open_store(url, {"retry_after": RETRY_AFTER, "create_tables": True})
        opened.append(store)
        store.connect()
        return store

    yield open_one
    for store in opened:
        store.close()
