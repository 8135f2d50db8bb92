"""NullFailedJobs: for applications that keep no failed jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from laraq.messages.failure import FailedJob, FailedJobQuery


class NullFailedJobs:
    """Keeps nothing (Illuminate/Queue/Failed/NullFailedJobProvider.php)."""

    def record(self, failed: FailedJob) -> None:
        """Drop the record."""

    def find(self, id: str) -> FailedJob | None:
        """Return None."""
        return None

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """Return an empty list."""
        return ()

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Return False: the record does not exist."""
        return False

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Always 0."""
        return 0

    def count(self, query: FailedJobQuery | None = None) -> int:
        """Always 0."""
        return 0
