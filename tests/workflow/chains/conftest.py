"""A line for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.line import Line
from tests.workflow.chains.jobs import log


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line
