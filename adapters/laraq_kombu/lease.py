"""Lease: one reservation of one job, and its owner's right to it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from laraq.errors import ConfigurationError

#: Default seconds that a reserved job may stay without a renewal before it is delivered again (Laravel's
#: `retry_after`).
RETRY_AFTER = 90.0

#: Seconds of a lease that never expires: a hundred years.
FOREVER = 100 * 365 * 24 * 3600.0


def lease_seconds(retry_after: Any) -> float:
    """The seconds of `retry_after`, where None is for ever. Raises ConfigurationError for an invalid duration."""
    if retry_after is None:
        return FOREVER
    try:
        seconds = float(retry_after)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= FOREVER:
        raise ConfigurationError(f"retry_after must be a number of seconds above 0, or None, not {retry_after!r}.")
    return seconds


class Lease(NamedTuple):
    """The right to run a job until `retry_after` has passed without a renewal.

    A store renews or releases a job only when `id`, `attempts` and `reserved_at` still match: `attempts` alone is not
    unique, because releasing a job unused also restores the attempt.
    """

    #: The store's key of the job.
    id: int
    queue: str
    #: Starts of the job, this one included.
    attempts: int
    #: When the store reserved the job, in the store's clock and unit.
    reserved_at: int

    @property
    def tag(self) -> str:
        """The delivery tag: unique among all reservations of one store."""
        return f"{self.id}.{self.attempts}.{self.reserved_at}"
