"""SkipIfBatchCancelled (Illuminate/Queue/Middleware/SkipIfBatchCancelled.php)."""

from __future__ import annotations

from typing import Any

from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler


class SkipIfBatchCancelled:
    """Ends a job of a cancelled batch without running it, as a success."""

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job unless its batch, read from the store, is cancelled."""
        batch = job.batch()
        return None if batch is not None and batch.cancelled else next(job)
