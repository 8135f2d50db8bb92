"""NullFailedJobs: for those who want failed jobs forgotten at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from laraq.messages.failure import FailedJob, FailedJobQuery


class NullFailedJobs:
    """Keeps nothing (Illuminate/Queue/Failed/NullFailedJobProvider.php)."""

    def record(self, failed: FailedJob) -> None:
        """The record is dropped."""

    def find(self, id: str) -> FailedJob | None:
        """Always None."""
        return None

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """Always empty."""
        return ()

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Always False: it was not there."""
        return False

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Always 0."""
        return 0

    def count(self, query: FailedJobQuery | None = None) -> int:
        """Always 0."""
        return 0
