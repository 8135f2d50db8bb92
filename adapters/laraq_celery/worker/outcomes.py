"""Outcomes: notifies batches, in groups, of their jobs that succeeded in a worker's children.

A child that updated the store itself would wait for it, and a database would commit, for every single job. The parent
sees the end of each job anyway. It notifies the batches of all jobs that ended in the last milliseconds, and then
acknowledges these: settled first, as always.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from laraq.errors import DispatchError, StoreError
from laraq.messages.tally import Success
from laraq.process.forks import busy
from laraq.running.persistence import persistently

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq_celery.worker.request import JobRequest

logger = logging.getLogger("laraq.batches")

#: Fewest and most seconds between the end of one group and the beginning of the next. The first outcome after a pause
#: is reported at once.
LINGER, LONGEST_LINGER = 0.01, 0.02

#: The wait for the next group, as a multiple of the time that the last notification took.
SPARING = 4

#: Most jobs that linger.
PLENTY = 16

#: Most jobs reported in one step.
GROUP = 200


class Outcomes:
    """The outcomes of one worker. It works in the parent; a child only checks whether there is one."""

    def __init__(self, laraq: Laraq, prefetched: int) -> None:
        """`prefetched`: most jobs that the worker holds, 0 for no limit."""
        self._laraq = laraq
        self._parent = os.getpid()
        #: So many jobs are reported without a wait: running jobs need their places.
        self._plenty = min(prefetched // 2 or PLENTY, PLENTY)
        self._waiting: deque[JobRequest] = deque()
        self._notified: deque[tuple[JobRequest, bool]] = deque()
        #: Requests by id, from `add` to the acknowledgement.
        self._held: dict[str, JobRequest] = {}
        self._news, self._hurry = threading.Event(), threading.Event()
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._registered = self._stopping = False

    @property
    def can_take(self) -> bool:
        """Whether this is a child, whose parent notifies the batches."""
        return os.getpid() != self._parent

    def of(self, id: str) -> JobRequest | None:
        """The request of a job that is not acknowledged yet because its batch is being notified."""
        return self._held.get(id)

    def add(self, request: JobRequest) -> None:
        """Notify the batch of a job that succeeded, then acknowledge the job."""
        if self._stopping:
            self._finish(self._notify([request])[0])
            return
        self._held[request.id] = request
        self._waiting.append(request)
        if len(self._waiting) >= self._plenty:
            self._hurry.set()
        if not self._news.is_set():
            self._news.set()
        if self._registered and self._thread is None:
            _ = self._laraq.batches  # made in one thread
            self._thread = threading.Thread(target=self._work, name="laraq-outcomes", daemon=True)
            self._thread.start()

    def register(self, hub: Any) -> None:
        """Acknowledge in this event loop."""
        if self._ends is None:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
        hub.add_reader(self._ends[0], self._acknowledge)
        self._registered = True

    def stop(self, patience: float | None = None) -> None:
        """Report the rest, for at most `patience` seconds; jobs that end later are reported directly by `add`."""
        self._stopping = True
        self._news.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(patience)
            self._thread = None
        self._acknowledge()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        next_at = 0.0
        while self._waiting or not self._stopping:
            self._news.wait()
            self._hurry.wait(max(next_at - time.monotonic(), 0.0))
            self._hurry.clear()
            self._news.clear()
            began = time.monotonic()
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP))]
            if self._waiting or self._stopping:
                self._news.set()
            if not group:
                continue
            self._notified.extend(self._notify(group))
            now = time.monotonic()
            next_at = now + min(max((now - began) * SPARING, LINGER), LONGEST_LINGER)
            with suppress(BlockingIOError):  # full of signals
                assert self._ends is not None
                self._ends[1].send(b"\0")

    def _notify(self, group: Sequence[JobRequest]) -> list[tuple[JobRequest, bool]]:
        """The requests, and whether their batches were notified."""
        batches: dict[str, list[JobRequest]] = {}
        for request in group:
            batches.setdefault(request.batch_id, []).append(request)
        notified = []
        for id, requests in batches.items():
            successes = [request.success for request in requests]
            try:
                self._notify_batch(id, successes)
            except Exception:
                logger.exception(
                    "Batch %s could not be notified of %d job(s), which go back to their queue", id, len(requests)
                )
                notified += [(request, False) for request in requests]
            else:
                notified += [(request, True) for request in requests]
        return notified

    def _notify_batch(self, id: str, successes: Sequence[Success]) -> None:
        """Repeat the notification until it succeeds, so that an outage does not run the jobs again. A worker that stops
        waits half a minute, as for any outcome."""

        def notify() -> None:
            with busy:
                self._laraq.batches.succeeded_together(id, successes)

        while True:
            try:
                return persistently(notify, f"{len(successes)} job(s) of batch {id}")
            except (StoreError, DispatchError):
                if self._stopping:
                    raise

    # -- the event loop -----------------------------------------------------------------------------------------

    def _acknowledge(self) -> None:
        if self._ends is not None:
            with suppress(BlockingIOError):
                self._ends[0].recv(4096)
        while self._notified:
            self._finish(self._notified.popleft())

    def _finish(self, notified: tuple[JobRequest, bool]) -> None:
        request, known = notified
        self._held.pop(request.id, None)
        if known:
            request.acknowledge()
        else:
            request.reject(requeue=True)
