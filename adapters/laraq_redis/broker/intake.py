"""RedisIntake: takes in the jobs of a channel's queues without ever waiting for an answer."""

from __future__ import annotations

import logging
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from redis import ConnectionPool
from redis.exceptions import ResponseError

from laraq.errors import StoreError
from laraq.messages.backoff import Backoff
from laraq_kombu import Appetite, Ask, Feed, Job, Ledger, Polling
from laraq_kombu.deliveries import Deliveries
from laraq_kombu.intake import Intake
from laraq_redis.broker.line import ScriptLine
from laraq_redis.broker.store import RedisQueues
from laraq_redis.broker.wakeup import ChangeTracking, UntrackableError

logger = logging.getLogger(__name__)

#: Seconds between two checks of idle queues, although the server reports changes.
POLL = 5.0

#: First and longest seconds between two checks if the server does not report changes.
BLIND_POLL = (0.05, 0.5)

#: Seconds to wait while the server refuses commands: READONLY, OOM, NOPERM and the like.
REFUSED = Backoff(base=0.5, cap=15, jitter=0.1)

#: Refusals in a row before everything reconnects: the address may lead to another server by now.
REFUSALS = 8

#: Seconds a closing channel waits for an outstanding answer, whose jobs could start elsewhere at once.
LAST_ANSWER = 1.0


class _Asked(NamedTuple):
    feed: Feed
    ask: Ask
    queues: list[str]


class RedisIntake(Intake):
    """Both feeds query over one connection; another one wakes them."""

    _store: RedisQueues

    def __init__(
        self,
        queues: RedisQueues,
        ledger: Ledger,
        room: Deliveries,
        deliver: Callable[[Job, bool], bool],
        *,
        poll: float | None = None,
        patience: float = 0.0,
    ) -> None:
        """`poll` and `patience` (see `ScriptLine`) are seconds.

        Connects, to find out whether the server reports changes; raises StoreError.
        """
        pool: ConnectionPool = queues.client.connection_pool
        self._line = ScriptLine(pool, queues.step_script, queues.label, patience)
        self._wakeup, polling = _listen(queues, pool, poll)
        super().__init__(queues, ledger, room, deliver, polling)
        self._asked: deque[_Asked] = deque()
        #: Queues whose next change will be reported.
        self._watched: set[str] = set()
        #: Refusals of the server in a row, and the time until which it is not queried again.
        self._refusals = 0
        self._quiet_until = 0.0

    def hint(self, queues: Collection[str] | None = None) -> None:
        self._watched.clear()
        super().hint(queues)

    def sockets(self) -> list[socket.socket]:
        """The sockets that become readable when there is work for `pump`."""
        found = (self._line.socket, self._wakeup.socket if self._wakeup is not None else None)
        return [one for one in found if one is not None]

    def pump(self) -> bool:
        """Listen, read, deliver, query; return whether anything was delivered. StoreError when the server is gone.

        A server that refuses is queried again later: running jobs go on, and acknowledgements stay owed.
        """
        try:
            if self._wakeup is not None and self._wakeup.drain():
                if self._asked:
                    self._watched.clear()  # most likely caused by this process; `_look` checks
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
        """Plan another query if the server refused; False if it is gone, or has refused for long."""
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
        now = time.monotonic()
        if not self._inbox and now < self._quiet_until:
            return self._quiet_until - now
        waits = (super().wait(), self._line.wait(now))
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> list[Job]:
        try:
            while self._asked and self._answer_comes():
                self._receive()
        except StoreError as error:
            logger.debug("The last jobs asked for come back when their lease ends: %s", error)
        self._line.close()
        if self._wakeup is not None:
            self._wakeup.close()
        self._forget_asked()
        return super().close()

    def _answer_comes(self) -> bool:
        sock = self._line.socket
        return self._line.has_answer() or bool(sock and select.select([sock], (), (), LAST_ANSWER)[0])

    def _ask(self) -> None:
        for feed in self._feeds:
            ask = feed.next(time.monotonic(), *self._load(feed))
            if ask is None:
                continue
            asked = _Asked(feed, ask, list(feed.queues))
            self._asked.append(asked)
            retry_after = self._store.retry_after if feed is self._leased else 0.0
            self._line.ask(*self._store.question(ask.acks, asked.queues, ask.limit, retry_after))

    def _receive(self) -> None:
        reply = self._line.answer()
        if reply is None:
            self._forget_asked()
            return
        self._refusals = 0
        feed, ask, queues = self._asked.popleft()
        taken = self._store.answer(queues, ask.limit, reply)
        self._answered(feed, ask, taken)
        if feed.appetite is Appetite.WAITING:
            self._watched.difference_update(queues)

    def _look(self) -> bool:
        """Let the server report changes of idle queues; return whether there was one since the last query."""
        idle = [feed for feed in self._feeds if feed.queues and feed.appetite is Appetite.WAITING]
        names = [queue for feed in idle for queue in feed.queues]
        if self._wakeup is None or self._watched.issuperset(names) or self._asked:
            return False
        seen = self._wakeup.look(tuple(self._store.keys.of(queue) for queue in names))
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


def _listen(queues: RedisQueues, pool: ConnectionPool, poll: float | None) -> tuple[ChangeTracking | None, Polling]:
    try:
        tracking = ChangeTracking(pool, queues.label)
    except UntrackableError as error:
        logger.info("%s reports no changes (%s): queues are polled", queues.label, error)
        first, most = (poll, poll) if poll else BLIND_POLL
        return None, Polling(first, most)
    # No later than the end of a lease that began unseen.
    pause = min(poll or POLL, queues.retry_after)
    return tracking, Polling(pause, pause)
