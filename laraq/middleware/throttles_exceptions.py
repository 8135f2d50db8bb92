"""ThrottlesExceptions: pauses jobs that fail again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self, TypeAlias

from laraq.current import current
from laraq.errors import JobTimedOutError, PayloadError, StoreError
from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.messages.options import key_of
from laraq.middleware.releasing import class_key, hidden
from laraq.middleware.rules import ErrorRule, error_rule, is_before_the_run
from laraq.middleware.stored import OnRedis, Stored

logger = logging.getLogger("laraq.middleware")

#: Plain numbers are minutes, as in Laravel's documentation of queues.
Minutes: TypeAlias = "int | float | timedelta"


class ThrottlesExceptions(Stored):
    """ThrottlesExceptions(10, 5): after 10 exceptions within 5 minutes, no run until those 5 minutes are over.

    (Illuminate/Queue/Middleware/ThrottlesExceptions.php.) The minutes begin at the first exception; a success resets
    the count. The exceptions are swallowed and the job is released, so `tries` end it but `max_exceptions` does not;
    with `dont_count` only `retry_until`, `fail_when` and `delete_when` do. A timeout does not count as an exception,
    and exceptions under `dispatch_sync` reach the caller, because nothing would start the job again.
    """

    #: Seconds between the end of the minutes and the next start (ThrottlesExceptions.php: getTimeUntilNextRetry()).
    _grace = 3.0
    _key = ""
    _by_job = False
    _backoff: Minutes | Callable[[Exception], Minutes] = 0
    _when: Callable[[BaseException, Any], bool] | None = None
    _report: Callable[[BaseException, Any], bool] | None = None
    _delete_when: Callable[[BaseException, Any], bool] | None = None
    _fail_when: Callable[[BaseException, Any], bool] | None = None

    def __init__(self, max: int = 10, decay: Minutes = 10) -> None:
        self.max = max
        self.decay = _seconds(decay)
        if self.decay <= 0:
            raise ValueError(f"Exceptions cannot be counted for {decay!r} minutes.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max}, {self.decay / 60:g})"

    def backoff(self, backoff: Minutes | Callable[[Exception], Minutes]) -> Self:
        """Wait that long after an exception, or as long as the callable returns for it. The default is no wait."""
        return self._with(_backoff=backoff.total_seconds() / 60 if isinstance(backoff, timedelta) else backoff)

    def by(self, key: object) -> Self:
        """Count all jobs with this key together, whatever their class: for example the name of the failing service."""
        return self._with(_key=key_of(key), _by_job=False)

    def by_job(self) -> Self:
        """Count each job separately."""
        return self._with(_by_job=True)

    def when(self, rule: ErrorRule) -> Self:
        """Throttle only these exceptions; others are neither counted nor swallowed."""
        return self._with(_when=error_rule(rule))

    def report(self, rule: ErrorRule | None = None) -> Self:
        """Log the swallowed exceptions (or only those that match) as errors, with traceback."""
        return self._with(_report=error_rule(Exception if rule is None else rule))

    def delete_when(self, rule: ErrorRule) -> Self:
        """End the job quietly at these exceptions. Beats `fail_when`."""
        return self._with(_delete_when=error_rule(rule))

    def fail_when(self, rule: ErrorRule) -> Self:
        """Fail the job at these exceptions, whatever tries are left."""
        return self._with(_fail_when=error_rule(rule))

    def key(self, job: Job) -> str:
        """The name of the count in the store's cache."""
        counted = job.id if self._by_job else hidden(job, self._key) or class_key(job)
        return f"throttles_exceptions:{counted}"

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job if there were fewer exceptions than the maximum, else release it."""
        self._warn_of_single_try(job)
        cache, key = self._store.cache, self.key(job)
        seen = cache.get(key)
        if seen is not None and seen.count >= self.max:
            return self._release(job, seen.ends_in + self._grace)
        try:
            result = next(job)
        except Exception as error:
            if not self._throttles(job, error):
                raise
            self._swallow(job, error)
            return None
        try:
            cache.forget(key)
        except StoreError as error:
            logger.warning("The exception count %r could not be reset: %s", key, error)
        return result

    def _throttles(self, job: Job, error: Exception) -> bool:
        """Whether to throttle the error: not the host's exceptions (Celery's Retry), nor those the runner handles."""
        if isinstance(error, (*current().host.control_flow, JobTimedOutError, PayloadError)):
            return False
        if is_before_the_run(job, error):
            return False
        return self._when is None or self._when(error, job)

    def _swallow(self, job: Job, error: Exception) -> None:
        if self._report is not None and self._report(error, job):
            logger.error("%s[%s] raised", job.job_name(), job.id, exc_info=error)
        if self._delete_when is not None and self._delete_when(error, job):
            job.delete()
        elif self._fail_when is not None and self._fail_when(error, job):
            job.fail(error)
        else:
            self._count(job)
            if job._in_queue("release()").delivery.last:
                raise error
            self._release(job, _seconds(self._backoff(error) if callable(self._backoff) else self._backoff))

    def _count(self, job: Job) -> None:
        key = self.key(job)
        try:
            self._store.cache.increment(key, 1, self.decay)
        except StoreError as error:
            logger.warning("The exception count %r could not be increased: %s", key, error)


class ThrottlesExceptionsWithRedis(ThrottlesExceptions, OnRedis):
    """ThrottlesExceptions with its own store: ThrottlesExceptionsWithRedis(10, 5).connection("redis://...")."""

    _grace = 0.0


def _seconds(minutes: Minutes) -> float:
    return minutes.total_seconds() if isinstance(minutes, timedelta) else minutes * 60.0
