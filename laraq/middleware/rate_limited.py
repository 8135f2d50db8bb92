"""RateLimited: no more runs per window than a named limiter allows."""

from __future__ import annotations

import random
from typing import Any

from laraq.job import Job
from laraq.limits import RateLimiter
from laraq.middleware.refusing import Refusing
from laraq.middleware.stored import OnRedis, Stored
from laraq.pipeline import Handler

#: Seconds over which jobs that wait for one window are spread when it opens. Laravel starts all of them 3 s after
#: (RateLimited.php: getTimeUntilNextRetry()).
SPREAD = 3.0


class RateLimited(Refusing, Stored):
    """RateLimited("backups"), with RateLimiter.for_("backups", ...) (Illuminate/Queue/Middleware/RateLimited.php).

    All limits of the limiter are taken together or none is, before the run: one that fails has used them, too. A job
    refused goes back until the window is over and up to 3 s more; `release_after` says otherwise.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def check(self) -> None:
        """For the dispatch: raise LimiterNotFoundError, with the nearest name, if there is no such limiter."""
        RateLimiter.limiter(self.name)

    def handle(self, job: Job, next: Handler) -> Any:
        """Run the job if it may. Raises LimiterNotFoundError."""
        self._warn_of_single_try(job)
        grant = RateLimiter.take(self.name, job, store=self._store)
        if grant:
            return next(job)
        return self._refuse(job, grant.available_in + random.uniform(0, SPREAD))  # noqa: S311 - spreads load


class RateLimitedWithRedis(RateLimited, OnRedis):
    """RateLimited with a store of its own: RateLimitedWithRedis("backups").connection("redis://limits:6379/1")."""
