"""Refusing: the base of middleware that may refuse a job, with what happens to a refused job."""

from __future__ import annotations

from typing import Self

from laraq.jobs.job import Job
from laraq.messages import options
from laraq.messages.delivery import Obstacle
from laraq.messages.options import Seconds
from laraq.middleware.releasing import Releasing

#: Seconds that a job waits which should be parked but cannot be, unless `release_after` is set.
UNPARKED = 1.0


class Refusing(Releasing):
    """A refused job is released; with `park` it waits in the store, with `dont_release` it ends without running.

    The last of these calls counts.
    """

    _drops = False
    _parks = False
    _delay = 0.0

    def release_after(self, seconds: Seconds) -> Self:
        """Let a refused job start again after that long; 0 is the default."""
        return self._with(_delay=options.seconds(seconds))

    def dont_release(self) -> Self:
        """Drop a refused job: it ends as a success; its chain and batch go on."""
        return self._with(_drops=True, _parks=False)

    def park(self) -> Self:
        """Let a refused job wait in the store until it may run, first come, first served; this costs no attempt.

        The job passes through its queue once more instead of again and again. `release_after` is then only for jobs
        that cannot be parked, because the store is down or their arguments are not JSON.
        """
        return self._with(_parks=True, _drops=False)

    def _refuse(self, job: Job, delay: float, obstacle: Obstacle) -> None:
        """Refuse the job, for `delay` seconds unless `release_after` is set."""
        if self._parks:
            job._in_queue("park()").park(obstacle, self._delay or delay or UNPARKED)
        elif not self._drops:
            self._release(job, self._delay or delay)

    def _warn_of_single_try(self, job: Job) -> None:
        if not self._drops and not self._parks:
            super()._warn_of_single_try(job)
