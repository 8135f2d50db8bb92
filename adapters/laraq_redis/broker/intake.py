"""Intake: how the jobs of a channel's queues come in, without ever waiting for an answer."""

from __future__ import annotations

import logging
import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from redis import ConnectionPool
from redis.exceptions import ResponseError

from laraq.errors import StoreError
from laraq.messages.backoff import Backoff
from laraq_kombu import Appetite, Ask, Feed, Job, Ledger, Polling
from laraq_redis.broker.line import Line
from laraq_redis.broker.store import RedisQueues
from laraq_redis.broker.wakeup import UntrackableError, WakeUp

logger = logging.getLogger(__name__)

#: Seconds between two looks at idle queues, although the server reports changes.
POLL = 5.0

#: The same where the server reports nothing: at first, and at most.
BLIND_POLL = (0.05, 0.5)

#: Seconds to wait while the server answers, but says no: READONLY, OOM, NOPERM and the like.
REFUSED = Backoff(base=0.5, cap=15, jitter=0.1)

#: How often in a row it may say no before everything connects anew: the address may lead to another server by now.
REFUSALS = 8

#: Seconds a closing channel waits for an answer that is under way: its jobs could start elsewhere at once.
LAST_ANSWER = 1.0


class Room(Protocol):
    """What is known of how much more may be delivered."""

    prefetch_count: int

    @property
    def outstanding(self) -> int:
        """Deliveries not yet settled."""

    def can_consume(self) -> bool:
        """Whether there is room for one more."""


class _Asked(NamedTuple):
    feed: Feed
    ask: Ask
    queues: list[str]


class Intake:
    """Two feeds, one of queues whose jobs are leased, one of those whose consumers acknowledge nothing, over one line,
    and what wakes them."""

    def __init__(
        self,
        queues: RedisQueues,
        ledger: Ledger,
        room: Room,
        deliver: Callable[[Job, bool], bool],
        *,
        poll: float | None = None,
        patience: float = 0.0,
    ) -> None:
        """`deliver(job, leased)` says whether a consumer got the job; `poll` and `patience` (see `Line`) are seconds.

        Connects, to know whether the server reports changes; raises StoreError.
        """
        self._queues = queues
        self._ledger = ledger
        self._room = room
        self._deliver = deliver
        pool: ConnectionPool = queues.client.connection_pool
        self._line = Line(pool, queues.step_script, queues.label, patience)
        self._wakeup, polling = self._listen(pool, poll)
        self._leased = Feed(polling, ledger, _jitter)
        self._unleased = Feed(polling, None, _jitter)
        self._feeds = (self._unleased, self._leased)
        self._asked: deque[_Asked] = deque()
        self._inbox: deque[tuple[Job, bool]] = deque()
        #: Queues whose next change will be reported.
        self._watched: set[str] = set()
        #: How often in a row the server said no, and until when it is not asked again.
        self._refusals = 0
        self._quiet_until = 0.0

    def _listen(self, pool: ConnectionPool, poll: float | None) -> tuple[WakeUp | None, Polling]:
        try:
            wakeup = WakeUp(pool, self._queues.label)
        except UntrackableError as error:
            logger.info("%s reports no changes (%s): queues are polled", self._queues.label, error)
            first, most = (poll, poll) if poll else BLIND_POLL
            return None, Polling(first, most)
        # No later than the end of a lease that began unseen.
        pause = min(poll or POLL, self._queues.retry_after)
        return wakeup, Polling(pause, pause)

    def add(self, queue: str, *, leased: bool) -> None:
        """Take from the queue too, after those added before."""
        feed = self._leased if leased else self._unleased
        feed.queues.append(queue)
        self.hint()

    def remove(self, queue: str) -> None:
        """Take no more from the queue; what is under way may still be delivered."""
        for feed in self._feeds:
            if queue in feed.queues:
                feed.queues.remove(queue)

    def hint(self) -> None:
        """Jobs may have come."""
        self._watched.clear()
        now = time.monotonic()
        for feed in self._feeds:
            if feed.queues:
                feed.hint(now)

    def settled(self) -> None:
        """A delivery was settled."""
        self._leased.settled(time.monotonic())

    def sockets(self) -> list[socket.socket]:
        """One becomes readable when there is something to do for `pump`."""
        found = (self._line.socket, self._wakeup.socket if self._wakeup is not None else None)
        return [one for one in found if one is not None]

    def pump(self) -> bool:
        """Listen, read, deliver, ask; whether anything was delivered. StoreError when the server is gone.

        One that says no is asked again later: jobs that run go on, and acknowledgements stay owed.
        """
        try:
            if self._wakeup is not None and self._wakeup.drain():
                if self._asked:
                    self._watched.clear()  # most likely our own doing; `_look` will see
                else:
                    self.hint()
            delivered = self._empty_inbox()
            if time.monotonic() < self._quiet_until:
                return delivered
            while self._line.has_answer():
                self._receive()
                delivered = self._empty_inbox() or delivered
            self._ask()
            if self._look():
                self._ask()
        except BaseException as error:
            self._forget_asked()
            if not isinstance(error, StoreError) or not self._may_wait(error):
                raise
            return False
        return delivered

    def _may_wait(self, error: StoreError) -> bool:
        """Plan to ask again where the server said no; False when it is gone, or has said no for long."""
        if not isinstance(error.__cause__, ResponseError):
            return False
        self._refusals += 1
        if self._refusals >= REFUSALS:
            return False
        pause = REFUSED.after(self._refusals)
        self._quiet_until = time.monotonic() + pause
        logger.warning("No jobs for now, asking again in %.1f s: %s", pause, error)
        return True

    def wait(self) -> float | None:
        """Seconds until `pump` may have work though nothing is readable; None: only after an event."""
        if self._inbox:
            return 0.0
        now = time.monotonic()
        if now < self._quiet_until:
            return self._quiet_until - now
        waits = [feed.wait(now, *self._load(feed)) for feed in self._feeds if not feed.in_flight]
        waits.append(self._line.wait(now))
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> list[Job]:
        """Stop; the leased jobs that no consumer got."""
        try:
            while self._asked and self._answer_comes():
                self._receive()
        except StoreError as error:
            logger.debug("The last jobs asked for come back when their lease ends: %s", error)
        self._line.close()
        if self._wakeup is not None:
            self._wakeup.close()
        self._forget_asked()
        jobs = [job for job, leased in self._inbox if leased]
        self._inbox.clear()
        return jobs

    def _answer_comes(self) -> bool:
        sock = self._line.socket
        return self._line.has_answer() or bool(sock and select.select([sock], (), (), LAST_ANSWER)[0])

    def _load(self, feed: Feed) -> tuple[int, int]:
        """(prefetch limit, outstanding) of the feed; what needs no acknowledgement is not limited."""
        if feed is self._unleased:
            return 0, 0
        if not self._room.can_consume():  # replaceable by the worker, so it has the last word
            return 1, 1
        return self._room.prefetch_count, self._room.outstanding + len(self._inbox)

    def _ask(self) -> None:
        for feed in self._feeds:
            ask = feed.next(time.monotonic(), *self._load(feed))
            if ask is None:
                continue
            asked = _Asked(feed, ask, list(feed.queues))
            self._asked.append(asked)
            retry_after = self._queues.retry_after if feed is self._leased else 0.0
            self._line.ask(*self._queues.question(ask.acks, asked.queues, ask.limit, retry_after))

    def _receive(self) -> None:
        reply = self._line.answer()
        if reply is None:
            self._forget_asked()
            return
        self._refusals = 0
        feed, ask, queues = self._asked.popleft()
        taken = self._queues.answer(queues, ask.limit, reply)
        if feed is self._leased:
            self._ledger.hold(job.lease for job in taken.jobs)
        feed.answered(ask, taken, time.monotonic())
        if feed.appetite is Appetite.WAITING:
            self._watched.difference_update(queues)
        self._inbox.extend((job, feed is self._leased) for job in taken.jobs)

    def _empty_inbox(self) -> bool:
        delivered = False
        while self._inbox:
            delivered = self._deliver(*self._inbox.popleft()) or delivered
        return delivered

    def _look(self) -> bool:
        """Have the server report changes of idle queues; whether there was one since they were asked."""
        idle = [feed for feed in self._feeds if feed.queues and feed.appetite is Appetite.WAITING]
        names = [queue for feed in idle for queue in feed.queues]
        if self._wakeup is None or self._watched.issuperset(names) or self._asked:
            return False
        seen = self._wakeup.look(tuple(self._queues.keys.of(queue) for queue in names))
        self._watched.update(names)
        changed = seen.pending or self._wakeup.drain()
        if seen.next_due is not None:
            now = time.monotonic()
            waits = [feed.wait(now, *self._load(feed)) for feed in idle]
            changed = changed or any(wait is None or seen.next_due < wait for wait in waits)
        if changed:
            self.hint()
        return changed

    def _forget_asked(self) -> None:
        while self._asked:
            asked = self._asked.pop()
            asked.feed.failed(asked.ask)


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads polls, guards nothing
