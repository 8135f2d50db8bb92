"""A store of each kind in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq.app import store_at
from laraq.ports import Store


@pytest.fixture(params=["memory", "redis", "sqlite"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    store = store_at(url)
    store.migrate()
    yield store
    store.close()
