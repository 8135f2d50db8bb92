"""Connections that need only this process: sync, null, deferred."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from laraq.errors import ReleasedInSyncError
from laraq.messages.delivery import Delivery, Done, Fail, Release
from laraq.messages.payload import Payload
from laraq.process.hooks import reported
from laraq.running.books import Books
from laraq.running.runner import Runner

logger = logging.getLogger("laraq.local")


class SyncConnection:
    """Runs each job where it is dispatched (Illuminate/Queue/SyncQueue.php).

    Delays are ignored, there is one attempt, and failures reach the caller and are not put into the failed store.
    """

    #: Nothing is queued: there is no JobQueueing and no JobQueued (Laravel fires none either).
    immediate = True

    def __init__(self, runner: Callable[[], Runner], books: Callable[[], Books], name: str = "sync") -> None:
        self.name = name
        self._runner = runner
        self._books = books

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Run the job and return the result of its handler; raises the error with which it failed."""
        results: list[Any] = []
        # The links of a chain run one after the other, not nested in each other.
        waiting = [payload]
        while waiting:
            results.append(self._run(waiting.pop(), waiting.append))
        return results[0]

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Run jobs one after the other; the first failure stops the rest, except in a batch, which counts it."""
        for payload, delay in payloads:
            try:
                self.push(payload, delay)
            except Exception as error:
                if payload.batch_id is None:
                    raise
                logger.warning("Job %s[%s] of batch %s failed: %s", payload.job, payload.id, payload.batch_id, error)

    def default_queue(self) -> str:
        """The name `sync`, as in Laravel."""
        return "sync"

    def _run(self, payload: Payload, follow: Callable[[Payload], None]) -> Any:
        queue = payload.queue or self.default_queue()
        delivery = Delivery(payload, attempt=1, queue=queue, connection=self.name, last=True)
        run = self._runner().run(delivery)
        match self._books().settle(run, record=False, follow=follow).verdict:
            case Done(result):
                return result
            case Release(delay):
                error = ReleasedInSyncError(payload.job, delay)
                self._books().failed(
                    run.payload, error
                )  # nothing will start it again: its lock, chain and batch are settled
                raise error
            case Fail(reason):
                raise reason


class NullConnection:
    """Drops every job (Illuminate/Queue/NullQueue.php)."""

    immediate = False

    def __init__(self, name: str = "null") -> None:
        self.name = name

    def push(self, payload: Payload, delay: float = 0) -> None:
        """Drop the job."""

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Drop the jobs."""

    def default_queue(self) -> str:
        """A name for events."""
        return "null"


_waiting: ContextVar[list[tuple[SyncConnection, Payload]] | None] = ContextVar("laraq_deferred", default=None)


class DeferredConnection:
    """Runs each job in this process when the enclosing `deferring()` block ends, else when the process does.

    (Illuminate/Queue/DeferredQueue.php: after the response of a web request, or after a console command.)
    """

    immediate = False

    def __init__(self, sync: SyncConnection) -> None:
        self.name = sync.name
        self._sync = sync
        self._at_exit: list[tuple[SyncConnection, Payload]] = []

    def push(self, payload: Payload, delay: float = 0) -> None:
        """Keep the job for later."""
        waiting = _waiting.get()
        if waiting is None:
            if not self._at_exit:
                atexit.register(self._run_at_exit)
            waiting = self._at_exit
        waiting.append((self._sync, payload))

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Keep the jobs for later."""
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        """A name for events."""
        return "deferred"

    def _run_at_exit(self) -> None:
        _run(self._at_exit)


@contextmanager
def deferring() -> Iterator[None]:
    """Collect jobs for `deferred` connections and run them at the end of the block, unless the block raised.

    Web frameworks wrap a request in it: dispatch_after_response() then runs jobs after the response.
    """
    token = _waiting.set([])
    try:
        yield
        _run(_waiting.get() or [])
    finally:
        _waiting.reset(token)


def _run(waiting: list[tuple[SyncConnection, Payload]]) -> None:
    while waiting:  # a job may defer another one
        connection, payload = waiting.pop(0)
        with reported(logger, "Deferred job %s failed", payload):
            connection.push(payload)
