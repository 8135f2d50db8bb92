"""Held jobs: jobs of a batch that wait in the store until its `before` callbacks are over.

Most jobs wait in their queue, and a worker that receives one too early puts it here. Jobs that start without a check
(tasks of the host) are put here when they are dispatched. Each portion is kept under its own number, drawn from a
count. A process that keeps a portion checks afterwards whether the callbacks are over, and then sends it; the process
that ends the last callback notes this before it looks for portions. So at least one of them sends each portion.
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

#: Most seconds for which jobs are held.
HELD_SECONDS = 7 * 24 * 3600.0

#: After this many jobs, another message continues with the rest.
AT_ONCE = 500


class HeldJobs:
    """The held jobs of one Laraq."""

    def __init__(self, store: Callable[[], Store], packer: Packer, dispatcher: Dispatcher) -> None:
        self._store = store
        self._packer = packer
        self._dispatcher = dispatcher

    def keep(self, id: str, links: Iterable[Link]) -> int:
        """Keep a portion of the jobs of a batch, ready to be sent; return its number."""
        cache, text = self._store().cache, json.dumps([link.to_dict() for link in links])
        number = cache.increment(_key(id), 1, HELD_SECONDS).count
        cache.put(_key(id, number), text, HELD_SECONDS)
        return number

    def forget(self, id: str) -> None:
        """Drop all held jobs of a batch."""
        cache = self._store().cache
        for number in range(1, self._kept(id) + 1):
            cache.forget(_key(id, number))
        cache.forget(_key(id))

    def send(self, id: str, place: Mapping[str, Any], number: int = 1) -> None:
        """Send the portions from that number on; a long rest is left to a job that is queued at `place`.

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
        """Send one portion unless it is sent already; return the number of its jobs."""
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
    """Sends the held jobs of a batch, so that the end of `before` need not send all of a large batch at once."""

    _travels_as = "laraq.held.SendHeldJobs"

    number: int
    #: Queue and connection of the messages that the batch itself sends.
    place: dict[str, str | None]

    tries = 10
    backoff = Backoff.exponential(1, cap=60)

    def handle(self) -> None:
        """Send the jobs; a second run, after a crash, sends the same jobs."""
        payload = self._in_queue("SendHeldJobs").delivery.payload
        assert payload.batch_id is not None
        current().batches.held.send(payload.batch_id, self.place, self.number)


def _left(link: Link) -> float:
    """The remaining seconds of the link's delay."""
    passed = max(0.0, clock.now() - (link.payload.created_at or clock.now()))
    return max(0.0, link.delay - passed)


def _key(id: str, number: int | None = None) -> str:
    return f"held:{id}" if number is None else f"held:{id}:{number}"
