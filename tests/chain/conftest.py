"""A line for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chain.jobs import log
from tests.support.line import Line


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line
