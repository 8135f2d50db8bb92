"""Processed: how many jobs and tasks a worker has ended, and when the last one."""

from __future__ import annotations

from datetime import UTC, datetime

from celery.worker import state


class Processed:
    """Counted from Celery's records, by a look about once a second."""

    def __init__(self) -> None:
        self.jobs = 0
        self.last_at: datetime | None = None

    def look(self) -> None:
        """Count what has ended since."""
        jobs = state.all_total_count[0] - len(state.active_requests)
        if jobs > self.jobs:
            self.jobs, self.last_at = jobs, datetime.now(UTC)
