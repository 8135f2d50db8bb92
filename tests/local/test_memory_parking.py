from __future__ import annotations

import pytest

from laraq.local.memory.store import MemoryStore
from laraq.testing.suite import ParkingSuite


class TestMemoryParking(ParkingSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
