"""Lease: one reservation of one job, and who may speak for it."""

from __future__ import annotations

from typing import NamedTuple


class Lease(NamedTuple):
    """The right to run a job until `retry_after` has passed without a renewal.

    A store renews or gives back a job only when `id`, `attempts` and `reserved_at` still match:
    `attempts` alone does not fence, because giving a job back unused takes the attempt back too.
    """

    #: The store's own key of the job.
    id: int
    queue: str
    #: Starts of the job, this one included.
    attempts: int
    #: When the store handed the job out, in the store's clock and unit.
    reserved_at: int

    @property
    def tag(self) -> str:
        """The delivery tag: unique among all reservations of one store."""
        return f"{self.id}.{self.attempts}.{self.reserved_at}"
