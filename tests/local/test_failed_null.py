from __future__ import annotations

from laraq.failed.null import NullFailedJobs
from laraq.ports import FailedJobs
from laraq.testing.suite.failed_jobs import failure


def test_nothing_is_kept() -> None:
    failed: FailedJobs = NullFailedJobs()
    failed.record(failure())
    assert failed.find("job-1") is None
    assert list(failed.all()) == []
    assert failed.forget("job-1") is False
    assert failed.flush() == 0
    assert failed.count() == 0
