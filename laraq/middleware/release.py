"""Release: releases a job before it runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.messages.options import Delay
from laraq.middleware.releasing import warn_of_single_try
from laraq.middleware.rules import Condition, condition


class Release:
    """Release.when(lambda: maintenance.is_on(), after=60): starts the job again later (Middleware/Release.php).

    A callable is called when the job is about to run, with the job if it takes a parameter.
    """

    def __init__(self, given: Condition, after: Delay = 0, releases: bool = True) -> None:
        """Release the jobs for which the condition is `releases`; `Release.when` and `.unless` read better."""
        self._holds = condition(given)
        self._after = after.total_seconds() if isinstance(after, timedelta) else after
        self._releases = releases

    @classmethod
    def when(cls, condition: Condition, after: Delay = 0) -> Release:
        """Release the job if the condition holds, to start again after `after`."""
        return cls(condition, after)

    @classmethod
    def unless(cls, condition: Condition, after: Delay = 0) -> Release:
        """Release the job unless the condition holds, to start again after `after`."""
        return cls(condition, after, releases=False)

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job, or release it."""
        warn_of_single_try(self, job)
        return job.release(self._after) if self._holds(job) is self._releases else next(job)
