"""WithoutOverlapping: one run per key at a time, on all machines that share the store."""

from __future__ import annotations

import logging
from typing import Any, Self

from laraq.current import current
from laraq.errors import StoreError
from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.messages import options
from laraq.messages.delivery import Obstacle
from laraq.messages.options import Seconds, Text, read
from laraq.middleware.refusing import Refusing
from laraq.middleware.releasing import class_key, hidden

logger = logging.getLogger("laraq.middleware")

#: Seconds that a lease outlasts the timeout of its job: the kill and the clean-up take time.
MARGIN = 30.0
#: Seconds of a lease if the job has no timeout.
DAY = 86400.0


class WithoutOverlapping(Refusing):
    """WithoutOverlapping(self.podcast.id) (Illuminate/Queue/Middleware/WithoutOverlapping.php).

    The key belongs to the class (or display name) of the job. While one job runs, the others are released: at once, or
    after `release_after`. The job keeps the lease over all its starts, so after the death of its process its next start
    runs at once. Other jobs may run when the lease expires: after the job's timeout and 30 s (24 h without a timeout).
    """

    _prefix = "overlap:"
    _shared = False
    _expiry: float | None = None

    def __init__(self, key: object = "") -> None:
        self.key = options.key_of(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r})"

    def expire_after(self, seconds: Seconds) -> Self:
        """Let the lease expire after that long; a longer run loses it to others."""
        length = options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"{self!r} cannot expire after {seconds!r} seconds: expected a positive duration.")
        return self._with(_expiry=length)

    def shared(self) -> Self:
        """Share the key with all classes that call this."""
        return self._with(_shared=True)

    def with_prefix(self, prefix: Text) -> Self:
        """Set the prefix of the lock's name in place of `overlap:`."""
        return self._with(_prefix=options.key_of(prefix))

    def lock_key(self, job: Job) -> str:
        """The lock's name in the store; hashed for an encrypted job."""
        key = hidden(job, self.key)
        return f"{self._prefix}{key}" if self._shared else f"{self._prefix}{class_key(job)}:{key}"

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job if no other job runs under the key."""
        self._warn_of_single_try(job)
        if not current().store.locks.acquire(self.lock_key(job), _owner(job), self._seconds(job)):
            return self._refuse(job, 0, Obstacle(lock=self.lock_key(job)))
        try:
            return next(job)
        finally:
            self._free(job)

    def lost(self, job: Job) -> None:
        """Called when a run that died is settled: release the lock in place of its `finally`."""
        self._release_lease(job)

    def _free(self, job: Job) -> None:
        """Release the lock. The run is over, so neither a lost lease nor a failing store may raise."""
        key = self.lock_key(job)
        try:
            if not self._release_lease(job):
                name = job.job_name()
                logger.warning(
                    "%s[%s] ran longer than its lock %r was held: other runs may have overlapped", name, job.id, key
                )
        except StoreError as error:
            logger.warning("Lock %r could not be released and will expire on its own: %s", key, error)

    def _release_lease(self, job: Job) -> bool:
        """End this job's lease; return whether it still held it. Raises StoreError."""
        key, owner = self.lock_key(job), _owner(job)
        return current().parking.free(key, owner) if self._parks else current().store.locks.release(key, owner)

    def _seconds(self, job: Job) -> float:
        if self._expiry is not None:
            return self._expiry
        timeout = read(job, "timeout")
        limit = options.seconds((current().worker.timeout if timeout is None else timeout) or 0)
        return limit + MARGIN if limit else DAY


def _owner(job: Job) -> str:
    return job._in_queue("WithoutOverlapping").delivery.payload.run_key
