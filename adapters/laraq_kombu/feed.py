"""Feed: when to query the store, and for how many jobs. A state machine without its own I/O, clock or thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from laraq_kombu.lease import Lease
from laraq_kombu.ledger import BATCH, Ledger
from laraq_kombu.store import Polling, Taken

#: Seconds without a finished job after which a single free slot is filled on its own.
LINGER = 0.005


class Appetite(StrEnum):
    """Whether a query for jobs makes sense."""

    #: There may be due jobs: query as soon as there is credit.
    HUNGRY = "hungry"
    #: The last answer was short: nothing more until a hint, the next due time or the fallback poll.
    WAITING = "waiting"


class Ask(NamedTuple):
    """One query to the store: acknowledge these, reserve up to `limit`."""

    acks: Sequence[Lease]
    limit: int


class Feed:
    """One ordered list of queues, and its state.

    The owner calls `next`; a non-None Ask is in flight until `answered` or `failed`. Between the two, hints
    are remembered: an answer that was computed before the hinted job was committed must not put the feed to
    sleep. Times are seconds of any monotonic clock.
    """

    def __init__(
        self,
        polling: Polling,
        ledger: Ledger | None = None,
        jitter: Callable[[], float] = lambda: 1.0,
        *,
        acks_ride_along: bool = True,
    ) -> None:
        #: Most urgent first; the owner edits it and then calls `hint`.
        self.queues: list[str] = []
        self.appetite = Appetite.HUNGRY
        self._polling = polling
        self._pause = polling.first
        self._ledger = ledger
        self._jitter = jitter
        self._acks_ride_along = acks_ride_along
        #: Whether a query is in flight.
        self.in_flight = False
        self._hinted = False
        self._recheck_at = 0.0
        self._wake_at = 0.0
        self._quiet_at = float("-inf")

    def hint(self, now: float) -> None:
        """Note that a job may have become due."""
        self._hinted = True
        self._recheck_at = now + self._polling.hint_window
        self._pause = self._polling.first
        self.appetite = Appetite.HUNGRY

    def settled(self, now: float) -> None:
        """Note that a delivered job was settled: there is more room than before."""
        self._quiet_at = now + LINGER

    def next(self, now: float, prefetch: int, outstanding: int) -> Ask | None:
        """The query to send now, or None."""
        if self.in_flight:
            return None
        if self.appetite is Appetite.WAITING and now >= self._wake_at:
            self.appetite = Appetite.HUNGRY
        limit = 0
        if self.queues and self.appetite is Appetite.HUNGRY:
            limit = credit(prefetch, outstanding, lately=now < self._quiet_at)
        flush = self._ledger is not None and self._ledger.flush_in(now) == 0.0
        if not limit and not flush:
            return None
        self.in_flight = True
        self._hinted = self._hinted and not limit
        if self._ledger is None or not (flush or self._acks_ride_along):
            return Ask((), limit)
        return Ask(self._ledger.collect(), limit)

    def answered(self, ask: Ask, taken: Taken, now: float) -> None:
        """Note the store's answer; its jobs now belong to the caller."""
        self.in_flight = False
        if self._ledger is not None:
            self._ledger.paid(ask.acks)
        if not ask.limit:
            return
        if taken.jobs:
            self._pause = self._polling.first
        if self._hinted or len(taken.jobs) >= ask.limit:
            return
        self.appetite = Appetite.WAITING
        self._wake_at = now + self._pause * self._jitter()
        self._pause = min(self._pause * 2, self._polling.most)
        if taken.next_due is not None:
            self._wake_at = min(self._wake_at, now + taken.next_due)
        if self._recheck_at > now:
            self._wake_at = min(self._wake_at, self._recheck_at)

    def failed(self, ask: Ask) -> None:
        """Note that the store did not answer: what it did is unknown, so acknowledge and query again."""
        self.in_flight = False
        self.appetite = Appetite.HUNGRY
        if self._ledger is not None:
            self._ledger.repay(ask.acks)

    def wait(self, now: float, prefetch: int, outstanding: int) -> float | None:
        """Seconds until `next` may return a query; None: only after a call of another method."""
        if self.in_flight:
            return None
        waits: list[float] = []
        flush_in = self._ledger.flush_in(now) if self._ledger is not None else None
        if flush_in is not None:
            waits.append(flush_in)
        if self.queues and (prefetch <= 0 or outstanding < prefetch):
            if self.appetite is Appetite.WAITING:
                waits.append(max(self._wake_at - now, 0.0))
            elif credit(prefetch, outstanding, lately=now < self._quiet_at):
                waits.append(0.0)
            else:
                waits.append(self._quiet_at - now)
        return min(waits, default=None)


def credit(prefetch: int, outstanding: int, *, lately: bool) -> int:
    """The number of jobs to reserve, given the number of unsettled deliveries.

    Slots are refilled in batches: once half of the prefetch count is free, or once no job was settled `lately`, that
    is, within the last `LINGER` seconds, so that a free slot next to long jobs does not stay empty.
    `prefetch` 0 means unlimited, as in AMQP.
    """
    if prefetch <= 0:
        return BATCH
    room = prefetch - outstanding
    if room <= 0:
        return 0
    if outstanding * 2 > prefetch and lately:
        return 0
    return min(room, BATCH)
