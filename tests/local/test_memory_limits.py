from __future__ import annotations

import pytest

from laraq.local.memory.limits import MemoryLimits, window_end
from laraq.testing.suite import LimitsSuite


class TestMemoryLimits(LimitsSuite):
    @pytest.fixture
    def limits(self) -> MemoryLimits:
        return MemoryLimits()


@pytest.mark.parametrize(
    ("now", "milliseconds", "end"),
    [
        (0.0, 1000, 1.0),
        (0.999, 1000, 1.0),
        (1.0, 1000, 2.0),
        (119.5, 60_000, 120.0),
        (86_399.9, 86_400_000, 86_400.0),
        (1_800_000_000.25, 100, 1_800_000_000.3),
    ],
)
def test_a_window_ends_at_a_multiple_of_its_length(now: float, milliseconds: int, end: float) -> None:
    assert window_end(now, milliseconds) == end
