from __future__ import annotations

import pytest

from laraq.local.memory.delayed import MemoryDelayed
from laraq.testing.suite import DelayedSuite


class TestMemoryDelayed(DelayedSuite):
    @pytest.fixture
    def delayed(self) -> MemoryDelayed:
        return MemoryDelayed()
