from __future__ import annotations

import pytest

from laraq.local.memory.batches import MemoryBatches
from laraq.testing.suite import BatchesSuite


class TestMemoryBatches(BatchesSuite):
    @pytest.fixture
    def batches(self) -> MemoryBatches:
        return MemoryBatches()
