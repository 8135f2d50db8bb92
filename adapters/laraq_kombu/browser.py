"""StoreBrowser: reads the queues of a broker, and drops their jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from laraq.messages.inspection import QueueState
from laraq_kombu.envelope import shown
from laraq_kombu.lease import Lease
from laraq_kombu.store import Job, JobStore

#: Jobs that are read, or passed to `notify`, together.
PAGE = 500

#: A message as kombu's virtual transports write it, how often it was delivered to a worker, and the epoch seconds at
#: which it was put into the queue, if known. A plain tuple, which browsers of other transports return as well.
Found: TypeAlias = tuple[dict[str, Any], int, float | None]

#: Settles jobs; they are dropped when it returns, and only then.
Notify: TypeAlias = Callable[[Sequence[Found]], object]

Id = TypeVar("Id")
StoreT = TypeVar("StoreT", bound=JobStore)


class Kept(NamedTuple, Generic[Id]):
    """A delayed job that is withheld from workers for now."""

    id: Id
    payload: str | bytes
    attempts: int


class StoreBrowser(ABC, Generic[StoreT, Id]):
    """`channel.browser()` creates one; `laraq_celery.stock` calls it on every channel.

    While workers take jobs from a queue, a job may be shown twice or skipped. Each broker defines how jobs are listed.
    """

    def __init__(self, store: StoreT) -> None:
        self._store = store

    def size(self, queue: str) -> int:
        """The number of jobs in all states."""
        return self._store.count(queue).total

    def count(self, queue: str, state: QueueState) -> int:
        """The number of jobs in that state."""
        return int(getattr(self._store.count(queue), state))

    @abstractmethod
    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """The jobs in that state, next first."""

    @abstractmethod
    def clear(self, queue: str) -> int:
        """Drop the jobs of every state silently; return how many (Illuminate/Queue/DatabaseQueue.php: clear)."""

    def drain(self, queue: str, notify: Notify) -> int:
        """Drop delayed and pending jobs after `notify` was called with them; workers keep their reserved jobs."""
        dropped = 0
        while page := self._withhold(queue):
            notify([self._found(job.payload, job.attempts) for job in page])
            dropped += self._drop(queue, [job.id for job in page])
        # No more than there are now: notifications may lead to callbacks, which are added to the queue.
        return dropped + drain(
            self._store,
            queue,
            self._due(queue),
            # This reservation is not a start.
            lambda jobs: notify([self._found(job.payload, job.lease.attempts - 1) for job in jobs]),
        )

    @abstractmethod
    def _withhold(self, queue: str) -> Sequence[Kept[Id]]:
        """Postpone some delayed jobs, at most `PAGE`, by the length of a lease, so that no worker starts them while
        `notify` runs."""

    @abstractmethod
    def _drop(self, queue: str, ids: Sequence[Id]) -> int:
        """Delete these delayed jobs; return how many."""

    @abstractmethod
    def _due(self, queue: str) -> int:
        """The number of jobs that a worker could reserve now."""

    def _found(self, payload: str | bytes, attempts: int, put_at: float | None = None) -> Found:
        return shown(payload), attempts, put_at


def drain(store: JobStore, queue: str, most: int, notify: Callable[[Sequence[Job]], object]) -> int:
    """Reserve up to `most` due jobs, page by page, drop each page when `notify` has returned; return how many.

    When `notify` raises, its page is released unused. After a kill in between, it is redelivered as its leases end.
    """
    notified: Sequence[Lease] = ()
    dropped = 0
    while dropped + len(notified) < most and (
        jobs := store.step(notified, [queue], min(PAGE, most - dropped - len(notified))).jobs
    ):
        dropped += len(notified)
        leases, notified = [job.lease for job in jobs], ()
        try:
            notify(jobs)
        except BaseException:
            store.release(leases, counted=False)
            raise
        notified = leases
    if notified:
        store.step(notified, [], 0)
    return dropped + len(notified)
