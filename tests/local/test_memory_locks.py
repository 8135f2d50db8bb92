from __future__ import annotations

import pytest

from laraq.local.memory.locks import MemoryLocks
from laraq.testing.suite import LocksSuite


class TestMemoryLocks(LocksSuite):
    @pytest.fixture
    def locks(self) -> MemoryLocks:
        return MemoryLocks()
