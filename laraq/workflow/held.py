"""Held jobs: those of a batch that wait in the store until its `before` callbacks are over.

Most jobs wait in their queue, and a worker that meets one too early puts it here; what starts without asking (tasks of
the host) is put here when it is dispatched. Each portion is kept under a number of its own, drawn from a count. Who
keeps one looks afterwards whether the callbacks are over meanwhile, and then sends it; who ends the last callback says
so before it looks for portions. So each is sent by one of them at least.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from laraq.current import current
from laraq.jobs.job import Job
from laraq.messages.backoff import Backoff
from laraq.messages.link import Link
from laraq.ports import Store
from laraq.process import clock
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import Packer
from laraq.workflow.callbacks import derived_id

#: Seconds for which jobs are held at most.
HELD_SECONDS = 7 * 24 * 3600.0

#: After so many jobs another message goes on with the rest.
AT_ONCE = 500


class HeldJobs:
    """Those of one Laraq."""

    def __init__(self, store: Callable[[], Store], packer: Packer, dispatcher: Dispatcher) -> None:
        self._store = store
        self._packer = packer
        self._dispatcher = dispatcher

    def keep(self, id: str, links: Iterable[Link]) -> int:
        """Keep a portion of the jobs of a batch, as they are to be sent; its number."""
        cache, text = self._store().cache, json.dumps([link.to_dict() for link in links])
        number = cache.increment(_key(id), 1, HELD_SECONDS).count
        cache.put(_key(id, number), text, HELD_SECONDS)
        return number

    def forget(self, id: str) -> None:
        """Drop all that is kept of a batch."""
        cache = self._store().cache
        for number in range(1, self._kept(id) + 1):
            cache.forget(_key(id, number))
        cache.forget(_key(id))

    def send(self, id: str, place: Mapping[str, Any], number: int = 1) -> None:
        """Send the portions from that number on, and at some point queue a job at `place` that goes on with it.

        Raises StoreError, DispatchError; may be repeated.
        """
        last, sent = self._kept(id), 0
        while number <= last and sent < AT_ONCE:
            sent += self.send_one(id, number)
            number += 1
        if number <= last:
            job = SendHeldJobs(number, dict(place))
            job.display_name = "jobs held by before"
            link = self._packer.link(job, id=derived_id(id, "held", number), **place)
            self._dispatcher.send_link(link.with_(batch_id=id, event="held", once=1))

    def send_one(self, id: str, number: int) -> int:
        """Send one portion, if nobody has; the number of its jobs."""
        cache = self._store().cache
        if (kept := cache.get(_key(id, number))) is None:
            return 0
        links = [Link.from_dict(data) for data in json.loads(kept.value)]
        self._dispatcher.send_all((link.payload, _left(link), None) for link in links)
        cache.forget(_key(id, number))
        return len(links)

    def _kept(self, id: str) -> int:
        counted = self._store().cache.get(_key(id))
        return 0 if counted is None else counted.count


class SendHeldJobs(Job):
    """Sends what a batch has held, so that the end of `before` need not send all of a large batch at once."""

    _travels_as = "laraq.held.SendHeldJobs"

    number: int
    #: Queue and connection of what the batch itself sends.
    place: dict[str, str | None]

    tries = 10
    backoff = Backoff.exponential(1, cap=60)

    def handle(self) -> None:
        """Send it; a second time, after a crash, sends the same jobs."""
        payload = self._in_queue("SendHeldJobs").delivery.payload
        assert payload.batch_id is not None
        current().batches.held.send(payload.batch_id, self.place, self.number)


def _left(link: Link) -> float:
    """Seconds that are left of its delay."""
    passed = max(0.0, clock.now() - (link.payload.created_at or clock.now()))
    return max(0.0, link.delay - passed)


def _key(id: str, number: int | None = None) -> str:
    return f"held:{id}" if number is None else f"held:{id}:{number}"
