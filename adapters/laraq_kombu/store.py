"""The guarantees of a broker store to a transport. Delays and due times are relative, so the store's clock counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from laraq_kombu.lease import Lease
from laraq_kombu.once import Put


class Job(NamedTuple):
    """A reserved job."""

    lease: Lease
    #: The payload that the producer passed to `put`.
    payload: str


class Taken(NamedTuple):
    """The result of one step."""

    #: Jobs, oldest due first within a queue, the queues in the requested order.
    jobs: Sequence[Job]
    #: Seconds until the next job of these queues is due or its lease ends; None if there is none, or if the step was
    #: full and another step is needed to know.
    next_due: float | None = None


class Posting(NamedTuple):
    """A job to be put into a queue."""

    queue: str
    #: Bytes only for a store that accepts text in either form.
    payload: str | bytes
    #: 0 to 9; within a queue the highest is reserved first.
    priority: int = 0
    #: Seconds.
    delay: float = 0


class QueueCount(NamedTuple):
    """The number of jobs of a queue by state (Laravel's names)."""

    pending: int
    delayed: int
    reserved: int

    @property
    def total(self) -> int:
        """The number of jobs in all states."""
        return self.pending + self.delayed + self.reserved


class Route(NamedTuple):
    """A queue bound to an exchange."""

    exchange: str
    routing_key: str
    #: The regular expression by which a topic exchange matches, "" for other exchanges.
    pattern: str
    queue: str


@dataclass(frozen=True, slots=True)
class Polling:
    """How often to check without a hint. Seconds."""

    first: float
    #: The pause doubles from `first` up to this while no job is found.
    most: float
    #: A producer may suppress hints for this long after one; a worker checks again when it has passed.
    hint_window: float = 0.0


class WakeUp(Protocol):
    """An object to wait on. Hints are only hints: they may be missing, late or unfounded."""

    def fileno(self) -> int:
        """A file descriptor that is readable when there are hints."""

    def drain(self) -> Collection[str] | None:
        """The queues with hints since the last call; None if it may be any."""

    def close(self) -> None:
        """Stop listening."""


class Reservations(Protocol):
    """The worker's side of a store."""

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        """Delete the acknowledged jobs, whoever holds them now, then reserve up to `limit` jobs and count an attempt
        for each; an earlier queue is emptied before a later one is used."""

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Extend the leases by another `retry_after`; return those that are no longer held."""

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        """Release the jobs, due after `delay` seconds; `counted=False` also restores the attempt. Return the leases
        that were no longer held; their jobs stay unchanged."""


class Queues(Protocol):
    """The producer's and the operator's side of a store."""

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        """Keep all jobs durably, or raise and keep none; idle workers are notified. One `put` is performed once, even
        if it is repeated because its answer was lost."""

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        """Remove and return up to `limit` due jobs: reservation and acknowledgement in one."""

    def count(self, queue: str) -> QueueCount:
        """The number of jobs in the queue."""

    def purge(self, queue: str) -> int:
        """Drop every job of the queue that is not reserved; return how many."""


class Bindings(Protocol):
    """The routes of a broker, which all its processes share."""

    def bind(self, route: Route, expires_in: float | None) -> None:
        """Add or renew the route; with `expires_in` it is removed after that many seconds, with the queue's jobs."""

    def unbind(self, queue: str) -> None:
        """Drop every route to the queue, and every job in it."""

    def routes(self, exchange: str) -> Sequence[Route]:
        """The routes of the exchange that have not expired."""

    def renew(self, queues: Sequence[str], expires_in: float) -> None:
        """Let the expiring routes to these queues live for that many seconds from now."""

    def sweep(self) -> int:
        """Drop expired routes with the jobs of their queues; return how many routes."""


class JobStore(Reservations, Queues, Protocol):
    """The jobs of a broker. These methods are all that another kind of broker must provide."""

    #: Seconds that a reserved job may stay without a renewal before it is delivered again.
    retry_after: float

    def close(self) -> None:
        """Close the connections of this process; the next call opens them again."""


class BrokerStore(JobStore, Protocol):
    """A store that a `StoreTransport` can query while its worker waits. Subclasses need not define these."""

    #: How often to check for jobs.
    polling: Polling = Polling(0.05, 1.0)
    #: Whether an acknowledgement costs nothing in addition to a reservation. If it needs its own round trip, owed
    #: acknowledgements are collected.
    acks_ride_along: bool = False

    def connect(self) -> None:
        """Check that the broker answers, or raise StoreError or ConfigurationError."""
        return  # without a check, the first query will show it

    def listen(self) -> WakeUp | None:
        """Start to receive hints about new jobs; None if the broker cannot send them."""
        return None
