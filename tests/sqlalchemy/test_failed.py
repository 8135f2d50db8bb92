from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq.messages.failure import FailedJobQuery
from laraq.testing.suite import SharedFailedJobsSuite
from laraq.testing.suite.failed_jobs import failure
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.store.failed import SqlFailedJobs
from tests.sqlalchemy.module_store import SERVERS, emptied, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


@pytest.fixture
def store(shared_store: SqlStore) -> SqlStore:
    return emptied(shared_store)


class TestSqlFailedJobs(SharedFailedJobsSuite):
    @pytest.fixture
    def failed(self, store: SqlStore) -> SqlFailedJobs:
        return store.failed


def test_more_records_than_one_page_are_flushed(store: SqlStore) -> None:
    for number in range(503):
        store.failed.record(failure(f"job-{number}", minutes=number, tags=("even" if number % 2 == 0 else "odd",)))
    assert store.failed.flush(FailedJobQuery(limit=501)) == 501
    assert [job.id for job in store.failed.all()] == ["job-1", "job-0"]


def test_what_no_database_takes_is_kept_readable(store: SqlStore) -> None:
    store.failed.record(failure(exception="OSError: \udcff\0"))
    found = store.failed.find("job-1")
    assert found is not None
    assert found.exception == r"OSError: \udcff\x00"
