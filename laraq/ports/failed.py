"""Failed jobs: where they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from laraq.messages.failure import FailedJob, FailedJobQuery


class FailedJobs(Protocol):
    """Where failed jobs are kept until somebody retries or forgets them."""

    def record(self, failed: FailedJob) -> None:
        """Keep the record durably; a record with the same id is replaced."""

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that very moment, when given); say whether it was there."""

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; say how many."""

    def count(self, query: FailedJobQuery | None = None) -> int:
        """How many records match."""
