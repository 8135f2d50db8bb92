"""The store of failed jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from laraq.messages.failure import FailedJob, FailedJobQuery


class FailedJobs(Protocol):
    """Keeps failed jobs until they are retried or forgotten."""

    def record(self, failed: FailedJob) -> None:
        """Keep the record durably; a record with the same id is replaced."""

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that exact moment, when given); return whether it existed."""

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; return how many."""

    def count(self, query: FailedJobQuery | None = None) -> int:
        """The number of records that match."""
