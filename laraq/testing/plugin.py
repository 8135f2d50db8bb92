"""The pytest plugin: fixtures `queue_fake`, `bus_fake` and `laraq_testing`, whose imports wait until one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from laraq.testing import BusFake, QueueFake, TestingQueue


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
