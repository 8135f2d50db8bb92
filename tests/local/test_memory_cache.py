from __future__ import annotations

import pytest

from laraq.local.memory.cache import MemoryCache
from laraq.testing.suite import CacheSuite


class TestMemoryCache(CacheSuite):
    @pytest.fixture
    def cache(self) -> MemoryCache:
        return MemoryCache()
