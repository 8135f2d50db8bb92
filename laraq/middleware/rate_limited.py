"""RateLimited: no more runs per window than a named limiter allows."""

from __future__ import annotations

import random
from typing import Any

from laraq.current import current
from laraq.errors import ConfigurationError
from laraq.jobs.job import Job
from laraq.jobs.pipeline import Handler
from laraq.limits.limits import RateLimiter
from laraq.messages.delivery import Obstacle
from laraq.messages.options import Text, key_of
from laraq.middleware.refusing import Refusing
from laraq.middleware.stored import OnRedis, Stored

#: Seconds over which the jobs that wait for a window are spread when it opens. Laravel starts all of them 3 s later
#: (RateLimited.php: getTimeUntilNextRetry()).
SPREAD = 3.0


class RateLimited(Refusing, Stored):
    """RateLimited("backups"), with RateLimiter.for_("backups", ...) (Illuminate/Queue/Middleware/RateLimited.php).

    All limits of the limiter are used together or none is, before the run: a job that fails has used them, too. A
    refused job is released until the window is over and up to 3 s more, or for `release_after`. With `park` as many
    jobs start at the beginning of a window as it has room for, and new jobs do not overtake them.
    """

    def __init__(self, name: Text) -> None:
        self.name = key_of(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def check(self) -> None:
        """Called at the dispatch: raise LimiterNotFoundError, with the nearest name, if there is no such limiter.

        Raises ConfigurationError if jobs would be parked where no worker looks.
        """
        RateLimiter.limiter(self.name)
        if self._parks and self._connection is not None:
            raise ConfigurationError(f"{self!r} parks in the default store only: leave out park() or connection().")

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job if the limits allow it. Raises LimiterNotFoundError."""
        self._warn_of_single_try(job)
        demands = RateLimiter.demands(self.name, job)
        if not demands:
            return next(job)
        obstacle = Obstacle(demands=tuple(demands))
        if self._parks and current().parking.is_behind(obstacle, job._in_queue("park()").delivery.payload):
            return self._refuse(job, 0, obstacle)
        grant = self._store.limits.take(demands)
        if grant:
            return next(job)
        spread = random.uniform(0, SPREAD)  # noqa: S311 - spreads load
        return self._refuse(job, grant.available_in + spread, obstacle)


class RateLimitedWithRedis(RateLimited, OnRedis):
    """RateLimited with its own store: RateLimitedWithRedis("backups").connection("redis://limits:6379/1")."""
