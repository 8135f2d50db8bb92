"""A line for every test, in memory or on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq import Events, events
from tests.support.line import Line
from tests.workflow.batches.jobs import log

#: Runs the test on each kind of store.
on_stores = pytest.mark.parametrize("store_url", ["memory", "sqlite", "postgres", "redis"], indirect=True)


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    kind = getattr(request, "param", "memory")
    return "memory://" if kind == "memory" else request.getfixturevalue(f"{kind}_url")


@pytest.fixture(autouse=True)
def line(store_url: str) -> Iterator[Line]:
    log.clear()
    with Line.attached(store=store_url) as line:
        line.laraq.migrate()
        yield line
        line.laraq.store.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The events of batches so far."""
    names: list[str] = []
    with Events.listening(events.BatchEvent, lambda event: names.append(type(event).__name__)):
        yield names


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.workflow.batch_service.FIRST_CHUNK", 2)
    monkeypatch.setattr("laraq.workflow.batch_service.CHUNK", 2)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler takes everything for left behind."""
    monkeypatch.setattr("laraq.workflow.batch_service.LOAD_SECONDS", 0)
    monkeypatch.setattr("laraq.workflow.batch_service.OVERDUE_SECONDS", 0)
