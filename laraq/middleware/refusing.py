"""Refusing: middleware that lets a job in or not, and what becomes of one that it does not."""

from __future__ import annotations

from typing import Self

from laraq.jobs.job import Job
from laraq.messages import options
from laraq.messages.delivery import Obstacle
from laraq.messages.options import Seconds
from laraq.middleware.releasing import Releasing

#: Seconds to wait for a job that was to be parked and cannot be, when nothing else says.
UNPARKED = 1.0


class Refusing(Releasing):
    """A refused job is released, with `park` it waits in the store, or with `dont_release` it ends without having run.

    What is said last counts.
    """

    _drops = False
    _parks = False
    _delay = 0.0

    def release_after(self, seconds: Seconds) -> Self:
        """Let a refused job start again after that long; 0 is as if it were not said."""
        return self._with(_delay=options.seconds(seconds))

    def dont_release(self) -> Self:
        """Drop a refused job: it ends as a success, its chain and batch go on."""
        return self._with(_drops=True, _parks=False)

    def park(self) -> Self:
        """Let a refused job wait in the store until it may run, first come first served; it costs no attempt.

        It goes through its queue once more instead of again and again. `release_after` is only for jobs that cannot be
        parked, because the store is down or their arguments are no JSON.
        """
        return self._with(_parks=True, _drops=False)

    def _refuse(self, job: Job, delay: float, obstacle: Obstacle) -> None:
        """Turn the job away, for `delay` seconds when `release_after` did not say."""
        if self._parks:
            job._in_queue("park()").park(obstacle, self._delay or delay or UNPARKED)
        elif not self._drops:
            self._release(job, self._delay or delay)

    def _warn_of_single_try(self, job: Job) -> None:
        if not self._drops and not self._parks:
            super()._warn_of_single_try(job)
