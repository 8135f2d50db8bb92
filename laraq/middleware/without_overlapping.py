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

#: Seconds a lease outlasts the timeout of its job: the kill and what follows it take time.
MARGIN = 30.0
#: Seconds of a lease when the job has no timeout.
DAY = 86400.0


class WithoutOverlapping(Refusing):
    """WithoutOverlapping(self.podcast.id) (Illuminate/Queue/Middleware/WithoutOverlapping.php).

    The key belongs to the class (or display name) of the job. While one runs, the others go back: at once, or after
    `release_after`. The lease is the job's own over all its starts, so that after the death of its process the next
    start goes in at once; to others it ends by itself, after the timeout of the job and 30 s (24 h without a timeout).
    """

    _prefix = "overlap:"
    _shared = False
    _expiry: float | None = None

    def __init__(self, key: object = "") -> None:
        self.key = options.key_of(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r})"

    def expire_after(self, seconds: Seconds) -> Self:
        """End the lease after that long, whatever becomes of the run: a longer run loses it to others."""
        length = options.seconds(seconds)
        if not options.is_lease(length):
            raise ValueError(f"{self!r} cannot expire after {seconds!r} seconds: expected a positive duration.")
        return self._with(_expiry=length)

    def shared(self) -> Self:
        """Let the key belong to all classes that share it."""
        return self._with(_shared=True)

    def with_prefix(self, prefix: Text) -> Self:
        """Another prefix of the lock's name than `overlap:`."""
        return self._with(_prefix=options.key_of(prefix))

    def lock_key(self, job: Job) -> str:
        """The lock's name in the store; that of an encrypted job is hidden."""
        key = hidden(job, self.key)
        return f"{self._prefix}{key}" if self._shared else f"{self._prefix}{class_key(job)}:{key}"

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job if no other one runs under the key."""
        self._warn_of_single_try(job)
        if not current().store.locks.acquire(self.lock_key(job), _owner(job), self._seconds(job)):
            return self._refuse(job, 0, Obstacle(lock=self.lock_key(job)))
        try:
            return next(job)
        finally:
            self._free(job)

    def lost(self, job: Job) -> None:
        """For who settles a run that died: free what its `finally` did not."""
        self._give_back(job)

    def _free(self, job: Job) -> None:
        """Give the lock back. The run is over, so neither a lost lease nor a store that is down may change it."""
        key = self.lock_key(job)
        try:
            if not self._give_back(job):
                name = job.job_name()
                logger.warning(
                    "%s[%s] ran longer than its lock %r was held: other runs may have overlapped", name, job.id, key
                )
        except StoreError as error:
            logger.warning("Lock %r could not be released and will expire on its own: %s", key, error)

    def _give_back(self, job: Job) -> bool:
        """End this job's lease; say whether it still had it. Raises StoreError."""
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
