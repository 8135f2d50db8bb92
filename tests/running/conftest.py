"""A Laraq that keeps what it knows in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Laraq
from tests.running.jobs import calls


@pytest.fixture
def queue() -> Iterator[Laraq]:
    keys = [Fernet.generate_key().decode()]
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://", keys=keys) as queue:
        yield queue


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()
