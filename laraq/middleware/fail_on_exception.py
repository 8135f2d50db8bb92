"""FailOnException: for errors that are not worth another try."""

from __future__ import annotations

from typing import Any

from laraq.current import current
from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.middleware.rules import ErrorRule, error_rule, is_before_the_run


class FailOnException:
    """FailOnException([PaymentRefused]): the job fails at these exceptions, whatever tries are left.

    (Illuminate/Queue/Middleware/FailOnException.php.) A predicate gets the error, and the job if it takes a second
    parameter. The exception continues to the outer middleware and is reported once.
    """

    def __init__(self, rule: ErrorRule) -> None:
        self._matches = error_rule(rule)

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job."""
        try:
            return next(job)
        except current().host.control_flow:
            raise  # an exception of the host, not an error of the job
        except Exception as error:
            if not is_before_the_run(job, error) and self._matches(error, job):
                job.fail(error)
            raise
