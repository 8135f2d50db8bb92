"""Interactions: what a running job has requested for itself so far (Illuminate/Queue/InteractsWithQueue.php)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from laraq.errors import ManuallyFailedError
from laraq.messages.delivery import Delivery, Done, Fail, Obstacle, Release, Verdict
from laraq.messages.options import Delay, delay_seconds
from laraq.process import clock


class Interactions:
    """Records the methods called in one run; `verdict` combines them into the outcome."""

    __slots__ = ("appended", "chain_is_taken", "deleted", "delivery", "entered", "failure", "prepended", "released")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        #: Whether the handler was reached: before that, an error of the store is not an error of the job.
        self.entered = False
        self.failure: Fail | None = None
        self.deleted = False
        self.released: Release | None = None
        #: Jobs for the chain, in the order in which they will run.
        self.prepended: list[Any] = []
        self.appended: list[Any] = []
        #: Whether the next link is sent by something else.
        self.chain_is_taken = False

    def release(self, delay: Delay = 0, *, counted: bool = True) -> None:
        """Release the job to its queue; the last call counts."""
        self.released = Release(delay_seconds(delay, clock.moment()), counted=counted)

    def park(self, obstacle: Obstacle, delay: float) -> None:
        """Park the job until the obstacle is gone, or for `delay` if it cannot be parked; the start is not counted."""
        self.released = Release(delay, counted=False, obstacle=obstacle)

    def fail(self, error: BaseException | str | None = None) -> None:
        """Fail the job; the first reason counts."""
        if self.failure is None:
            if not isinstance(error, BaseException):
                payload = self.delivery.payload
                message = error or f"{payload.job} was failed by fail()."
                error = ManuallyFailedError(message, job=payload.job, job_id=payload.id)
            self.failure = Fail(error)

    def delete(self) -> None:
        """End the job, whatever follows."""
        self.deleted = True

    def prepend(self, jobs: Iterable[Any]) -> None:
        """Add jobs to the beginning of the chain."""
        self.prepended[:0] = flat(jobs)

    def append(self, jobs: Iterable[Any]) -> None:
        """Add jobs to the end of the chain."""
        self.appended += flat(jobs)

    def hand_over_chain(self) -> None:
        """Leave the rest of the chain to a batch that was a link of it; the batch sends it once it has finished."""
        self.chain_is_taken = True

    def decided(self) -> Verdict | None:
        """The outcome requested before the handler was called, if any."""
        return self._ended() or self.released

    def verdict(self, result: object = None) -> Verdict:
        """The outcome of a run that returned: fail beats delete beats release."""
        return self.decided() or Done(result)

    def verdict_after(self, used_up: bool) -> Verdict | None:
        """The outcome of a run that raised after it had requested one; None leaves it to the retry policy.

        A release is kept unless the job has no attempts left. Laravel both requeues and fails such a job.
        """
        return self._ended() or (None if used_up else self.released)

    def _ended(self) -> Verdict | None:
        return self.failure or (Done() if self.deleted else None)


def flat(jobs: Iterable[Any]) -> list[Any]:
    """Jobs without gaps (None, False), and with nested lists flattened."""
    found: list[Any] = []
    for job in jobs:
        if isinstance(job, (list, tuple)):
            found += flat(job)
        elif job is not None and job is not False:
            found.append(job)
    return found
