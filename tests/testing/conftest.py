"""A Laraq without a task queue behind it: what stands in these files needs no Celery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq import Laraq
from laraq.testing import TestingApp
from tests.testing import jobs


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    jobs.ran.clear()
    with Laraq(TestingApp()) as laraq:
        yield laraq
