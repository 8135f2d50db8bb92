from __future__ import annotations

import pytest

from laraq.local.memory.store import MemoryFailedJobs, MemoryJournal, MemoryStore
from laraq.testing.suite import FailedJobsSuite, JournalSuite, StoreSuite
from laraq.testing.suite.failed_jobs import failure


class TestMemoryFailedJobs(FailedJobsSuite):
    @pytest.fixture
    def failed(self) -> MemoryFailedJobs:
        return MemoryFailedJobs()


class TestMemoryJournal(JournalSuite):
    @pytest.fixture
    def journal(self) -> MemoryJournal:
        return MemoryJournal()


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore.from_url("memory://")


def test_two_memory_stores_share_nothing() -> None:
    first, second = MemoryStore.from_url("memory://"), MemoryStore.from_url("memory://")
    first.failed.record(failure())
    assert second.failed.count() == 0
