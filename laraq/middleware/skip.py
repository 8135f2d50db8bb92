"""Skip: ends a job before it runs."""

from __future__ import annotations

from typing import Any

from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.middleware.rules import Condition, condition


class Skip:
    """Skip.when(self.user.is_banned): the job ends as a success without having run (Middleware/Skip.php).

    A callable is called when the job is about to run, with the job if it takes a parameter.
    """

    def __init__(self, given: Condition, skips: bool = True) -> None:
        """Skip the jobs for which the condition is `skips`; `Skip.when` and `Skip.unless` read better."""
        self._holds = condition(given)
        self._skips = skips

    @classmethod
    def when(cls, condition: Condition) -> Skip:
        """Skip the job if the condition holds."""
        return cls(condition)

    @classmethod
    def unless(cls, condition: Condition) -> Skip:
        """Skip the job unless the condition holds."""
        return cls(condition, skips=False)

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job, or skip it."""
        return None if self._holds(job) is self._skips else next(job)
