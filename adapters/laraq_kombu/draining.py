"""drain(): what is due in a queue is taken out for good, after somebody was told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laraq_kombu.lease import Lease
from laraq_kombu.store import Job, Reservations

#: Jobs told together.
PAGE = 500


def drain(store: Reservations, queue: str, most: int, tell: Callable[[Sequence[Job]], object]) -> int:
    """Reserve up to `most` due jobs, page by page; each page is dropped when `tell` has returned; say how many were.

    When `tell` raises, its page goes back unused. Killed in between, it comes back as its leases end.
    """
    told: Sequence[Lease] = ()
    dropped = 0
    while dropped + len(told) < most and (
        jobs := store.step(told, [queue], min(PAGE, most - dropped - len(told))).jobs
    ):
        dropped += len(told)
        leases, told = [job.lease for job in jobs], ()
        try:
            tell(jobs)
        except BaseException:
            store.release(leases, counted=False)
            raise
        told = leases
    if told:
        store.step(told, [], 0)
    return dropped + len(told)
