"""Intake: takes in the jobs of a channel's queues."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Collection

from laraq_kombu.deliveries import Deliveries
from laraq_kombu.feed import Ask, Feed
from laraq_kombu.ledger import Ledger
from laraq_kombu.store import Job, JobStore, Polling, Taken


class Intake:
    """Two feeds: one of queues whose jobs are leased, one of queues whose consumers do not acknowledge."""

    def __init__(
        self,
        store: JobStore,
        ledger: Ledger,
        room: Deliveries,
        deliver: Callable[[Job, bool], bool],
        polling: Polling,
        *,
        acks_ride_along: bool = True,
    ) -> None:
        """`deliver(job, leased)` returns whether a consumer got the job."""
        self._store = store
        self._ledger = ledger
        self._room = room
        self._deliver = deliver
        self._leased = Feed(polling, ledger, _jitter, acks_ride_along=acks_ride_along)
        self._unleased = Feed(polling, None, _jitter)
        self._feeds = (self._unleased, self._leased)
        self._inbox: deque[tuple[Job, bool]] = deque()
        self._closed = False

    def add(self, queue: str, *, leased: bool) -> None:
        """Also take jobs from this queue, after the queues added before."""
        feed = self._leased if leased else self._unleased
        feed.queues.append(queue)
        self.hint()

    def remove(self, queue: str) -> None:
        """Take no more jobs from the queue; jobs in transit may still be delivered."""
        for feed in self._feeds:
            if queue in feed.queues:
                feed.queues.remove(queue)

    def hint(self, queues: Collection[str] | None = None) -> None:
        """Note that jobs may have arrived in these queues; None: in any queue."""
        now = time.monotonic()
        for feed in self._feeds:
            if feed.queues and (queues is None or any(queue in queues for queue in feed.queues)):
                feed.hint(now)

    def settled(self) -> None:
        """Note that a delivery was settled."""
        self._leased.settled(time.monotonic())

    def pump(self) -> bool:
        """Query if it makes sense, and deliver the jobs; return whether any was delivered."""
        delivered = self._empty_inbox()
        for feed in self._feeds:
            ask = None if self._closed else feed.next(time.monotonic(), *self._load(feed))
            if ask is None:
                continue
            try:
                if feed is self._leased:
                    taken = self._store.step(ask.acks, feed.queues, ask.limit)
                else:
                    taken = self._store.take(feed.queues, ask.limit)
            except BaseException:
                feed.failed(ask)
                raise
            self._answered(feed, ask, taken)
            delivered = self._empty_inbox() or delivered
        return delivered

    def wait(self) -> float | None:
        """Seconds until `pump` may have work without a hint; None: only after an event."""
        if self._inbox:
            return 0.0
        now = time.monotonic()
        waits = [feed.wait(now, *self._load(feed)) for feed in self._feeds]
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> list[Job]:
        """Stop; return the leased jobs that no consumer got."""
        self._closed = True
        jobs = [job for job, leased in self._inbox if leased]
        self._inbox.clear()
        return jobs

    def _load(self, feed: Feed) -> tuple[int, int]:
        """(prefetch limit, outstanding) of the feed; jobs without acknowledgement are not limited."""
        if feed is self._unleased:
            return 0, 0
        if not self._room.can_consume():  # the worker may replace it, so it decides
            return 1, 1
        return self._room.prefetch_count, self._room.outstanding + len(self._inbox)

    def _answered(self, feed: Feed, ask: Ask, taken: Taken) -> None:
        leased = feed is self._leased
        if leased:
            self._ledger.hold(job.lease for job in taken.jobs)
        feed.answered(ask, taken, time.monotonic())
        self._inbox.extend((job, leased) for job in taken.jobs)

    def _empty_inbox(self) -> bool:
        delivered = False
        while self._inbox:
            delivered = self._deliver(*self._inbox.popleft()) or delivered
        return delivered


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads polls, guards nothing
