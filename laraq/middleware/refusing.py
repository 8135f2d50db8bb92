"""Refusing: middleware that lets a job in or not, and what becomes of one that it does not."""

from __future__ import annotations

from typing import Self

from laraq import options
from laraq.job import Job
from laraq.middleware.releasing import Releasing
from laraq.options import Seconds


class Refusing(Releasing):
    """A refused job is released, or with `dont_release` it ends as a success without having run."""

    _drops = False
    _delay = 0.0

    def release_after(self, seconds: Seconds) -> Self:
        """Let a refused job start again after that long; 0 is as if it were not said."""
        return self._with(_delay=options.seconds(seconds))

    def dont_release(self) -> Self:
        """Drop a refused job: it ends as a success, its chain and batch go on."""
        return self._with(_drops=True)

    def _refuse(self, job: Job, delay: float = 0) -> None:
        """Turn the job away, for `delay` seconds when `release_after` did not say."""
        if not self._drops:
            self._release(job, self._delay or delay)

    def _warn_of_single_try(self, job: Job) -> None:
        if not self._drops:
            super()._warn_of_single_try(job)
