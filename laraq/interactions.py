"""Interactions: what a running job has decided about itself so far (Illuminate/Queue/InteractsWithQueue.php)."""

from __future__ import annotations

from datetime import UTC, datetime

from laraq.delivery import Delivery, Done, Fail, Release, Verdict
from laraq.errors import ManuallyFailedError
from laraq.options import Delay, delay_seconds


class Interactions:
    """Records the verbs called in one run; the last word is said once, by `verdict`."""

    __slots__ = ("deleted", "delivery", "failure", "released")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.failure: Fail | None = None
        self.deleted = False
        self.released: Release | None = None

    def release(self, delay: Delay = 0, *, counted: bool = True) -> None:
        """Go back to the queue; the last call counts."""
        self.released = Release(delay_seconds(delay, datetime.now(UTC)), counted=counted)

    def fail(self, error: BaseException | str | None = None) -> None:
        """Be over; the first reason counts."""
        if self.failure is None:
            if not isinstance(error, BaseException):
                payload = self.delivery.payload
                message = error or f"{payload.job} was failed by hand."
                error = ManuallyFailedError(message, job=payload.job, job_id=payload.id)
            self.failure = Fail(error)

    def delete(self) -> None:
        """Be done, whatever follows."""
        self.deleted = True

    def verdict(self, result: object = None) -> Verdict:
        """The outcome of a run that returned: fail beats delete beats release."""
        return self._ended() or self.released or Done(result)

    def verdict_after(self, used_up: bool) -> Verdict | None:
        """The outcome of a run that raised after a verb had decided it; None leaves it to the retry policy.

        A release is kept unless no start may follow. Laravel requeues and fails such a job.
        """
        return self._ended() or (None if used_up else self.released)

    def _ended(self) -> Verdict | None:
        return self.failure or (Done() if self.deleted else None)
