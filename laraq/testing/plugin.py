"""The pytest plugin: fixtures `queue_fake`, `bus_fake`, `laraq_testing` and `laraq_worker`, which import when used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from laraq.testing import BusFake, LiveWorker, QueueFake, TestingQueue


def pytest_addoption(parser: pytest.Parser) -> None:
    """`laraq_app`, where the app of `laraq_worker` cannot be found by itself."""
    parser.addini("laraq_app", "The app of laraq_worker, as in `celery -A`: module:attribute.", default="")


@pytest.fixture
def queue_fake() -> Iterator[QueueFake]:
    """Records jobs and tasks instead of sending them, for a test: `queue_fake.assert_pushed(ShipOrder)`."""
    from laraq import Queue

    with Queue.fake() as fake:
        yield fake


@pytest.fixture
def bus_fake() -> Iterator[BusFake]:
    """Records what is dispatched, chained and batched: `bus_fake.assert_batched(lambda batch: ...)`."""
    from laraq import Bus

    with Bus.fake() as fake:
        yield fake


@pytest.fixture
def laraq_testing() -> Iterator[TestingQueue]:
    """Runs jobs in the test's process when `laraq_testing.drain()` says so."""
    from laraq import Queue

    with Queue.testing() as queue:
        yield queue


@pytest.fixture
def laraq_worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveWorker]:
    """A real `celery worker` of the app, on a broker and a store in a temporary SQLite file.

    Its log is shown where a test fails. `laraq_app` in pytest's configuration names the app where it is not found.
    """
    from laraq.testing import LiveWorker

    with LiveWorker(tmp_path, str(request.config.getini("laraq_app"))) as worker:
        yield worker
        print(f"--- log of laraq_worker\n{worker.log}--- end of log")
