"""StoreBrowser: looks into the queues of a broker, and drops what they hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from laraq.messages.inspection import QueueState
from laraq_kombu.envelope import shown
from laraq_kombu.lease import Lease
from laraq_kombu.store import Job, JobStore

#: Jobs read or told together.
PAGE = 500

#: A message as kombu's virtual transports write it, how often it was given to a worker, and the epoch seconds at which
#: it was put into the queue, where the broker knows. A plain tuple: browsers of other transports give it as well.
Found: TypeAlias = tuple[dict[str, Any], int, float | None]

#: Keeps the books of jobs that are dropped when it returns, and only then.
Tell: TypeAlias = Callable[[Sequence[Found]], object]

Id = TypeVar("Id")
StoreT = TypeVar("StoreT", bound=JobStore)


class Kept(NamedTuple, Generic[Id]):
    """A delayed job that nobody starts for now."""

    id: Id
    payload: str | bytes
    attempts: int


class StoreBrowser(ABC, Generic[StoreT, Id]):
    """`channel.browser()` makes one; `laraq_celery.stock` asks every channel for it.

    A queue that is worked on meanwhile may show a job twice, or skip one. A broker says how its jobs are listed.
    """

    def __init__(self, store: StoreT) -> None:
        self._store = store

    def size(self, queue: str) -> int:
        """Jobs in any state."""
        return self._store.count(queue).total

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""
        return int(getattr(self._store.count(queue), state))

    @abstractmethod
    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """The jobs in that state, next one first."""

    @abstractmethod
    def clear(self, queue: str) -> int:
        """Drop the jobs of every state, and tell nobody; say how many (Illuminate/Queue/DatabaseQueue.php: clear)."""

    def drain(self, queue: str, tell: Tell) -> int:
        """Drop delayed and pending jobs after `tell` was told of them, and let workers keep what they have."""
        dropped = 0
        while page := self._withhold(queue):
            tell([self._found(job.payload, job.attempts) for job in page])
            dropped += self._drop(queue, [job.id for job in page])
        # No more than there are: what is told may lead to callbacks, which come into the queue behind.
        return dropped + drain(
            self._store,
            queue,
            self._due(queue),
            # This reservation is no start.
            lambda jobs: tell([self._found(job.payload, job.lease.attempts - 1) for job in jobs]),
        )

    @abstractmethod
    def _withhold(self, queue: str) -> Sequence[Kept[Id]]:
        """Some delayed jobs, at most `PAGE`, put off for as long as a lease, so that no worker starts what is being
        told."""

    @abstractmethod
    def _drop(self, queue: str, ids: Sequence[Id]) -> int:
        """Delete these delayed jobs; return how many."""

    @abstractmethod
    def _due(self, queue: str) -> int:
        """How many jobs a worker could reserve now."""

    def _found(self, payload: str | bytes, attempts: int, put_at: float | None = None) -> Found:
        return shown(payload), attempts, put_at


def drain(store: JobStore, queue: str, most: int, tell: Callable[[Sequence[Job]], object]) -> int:
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
