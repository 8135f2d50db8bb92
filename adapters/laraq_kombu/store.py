"""What a broker store promises to a transport. Delays and due times are relative, so the store's clock rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from laraq_kombu.lease import Lease
from laraq_kombu.once import Put


class Job(NamedTuple):
    """A reserved job."""

    lease: Lease
    #: What the producer handed to `put`.
    payload: str


class Taken(NamedTuple):
    """What one step brought."""

    #: Oldest due first within a queue, the queues in the order asked for.
    jobs: Sequence[Job]
    #: Seconds until the next job of these queues is due or its lease ends; None when there is none, or when
    #: the step was full and asking again is the way to know.
    next_due: float | None = None


class Posting(NamedTuple):
    """A job on its way into a queue."""

    queue: str
    #: Bytes only for a store that takes text in either form.
    payload: str | bytes
    #: 0 to 9; within a queue the higher one is reserved first.
    priority: int = 0
    #: Seconds.
    delay: float = 0


class QueueCount(NamedTuple):
    """How many jobs of a queue are in which state (Laravel's words)."""

    pending: int
    delayed: int
    reserved: int

    @property
    def total(self) -> int:
        """Every job the queue holds."""
        return self.pending + self.delayed + self.reserved


class Route(NamedTuple):
    """A queue bound to an exchange."""

    exchange: str
    routing_key: str
    #: The regular expression a topic exchange matches with, "" for other exchanges.
    pattern: str
    queue: str


@dataclass(frozen=True, slots=True)
class Polling:
    """How often to look although nothing was heard. Seconds."""

    first: float
    #: The pause doubles from `first` up to here while nothing is found.
    most: float
    #: A producer may leave out hints for this long after one; a worker looks again once it has passed.
    hint_window: float = 0.0


class WakeUp(Protocol):
    """Something to wait on. Hints are only hints: they may be missing, late or about nothing."""

    def fileno(self) -> int:
        """Readable when there are hints."""

    def drain(self) -> Collection[str] | None:
        """The queues hinted at since the last call; None when it may be any."""

    def close(self) -> None:
        """Stop listening."""


class Reservations(Protocol):
    """The worker's side of a store."""

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        """Delete the acknowledged jobs, whoever holds them now, then reserve up to `limit` jobs, counting an
        attempt on each; an earlier queue is emptied before a later one is touched."""

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Let the leases run for another `retry_after`; name those that are no longer ours."""

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        """Give the jobs back, due after `delay` seconds; `counted=False` takes the attempt back as well. Name
        those that were no longer ours: they are left alone."""


class Queues(Protocol):
    """The producer's and the operator's side of a store."""

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        """Keep all of the jobs durably, or raise and keep none; idle workers learn of them. One `put` is done once,
        though it be asked for again because its answer was lost."""

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        """Remove and return up to `limit` due jobs: reservation and acknowledgement in one."""

    def count(self, queue: str) -> QueueCount:
        """How many jobs the queue holds."""

    def purge(self, queue: str) -> int:
        """Drop every job of the queue that nobody has reserved; return how many."""


class Bindings(Protocol):
    """The routes of a broker, which all its processes share."""

    def bind(self, route: Route, expires_in: float | None) -> None:
        """Add the route, or renew it; one with `expires_in` seconds is gone, jobs included, once they pass."""

    def unbind(self, queue: str) -> None:
        """Drop every route to the queue and every job in it."""

    def routes(self, exchange: str) -> Sequence[Route]:
        """The routes of the exchange that have not expired."""

    def renew(self, queues: Sequence[str], expires_in: float) -> None:
        """Let the expiring routes to these queues live for that many seconds from now."""

    def sweep(self) -> int:
        """Drop expired routes with the jobs of their queues; say how many routes."""


class JobStore(Reservations, Queues, Protocol):
    """The jobs of a broker. What is named here is all that a broker of another kind has to bring along."""

    #: Seconds a reserved job may stay silent before it is handed out again.
    retry_after: float

    def close(self) -> None:
        """Close the connections of this process; the next call opens them again."""


class BrokerStore(JobStore, Protocol):
    """A store which a `StoreTransport` can ask while its worker waits. Whoever derives from it may leave these out."""

    #: How often to look for jobs.
    polling: Polling = Polling(0.05, 1.0)
    #: Whether acknowledging costs nothing beside a reservation. Where it costs a round trip of its own, owed
    #: acknowledgements wait for each other.
    acks_ride_along: bool = False

    def connect(self) -> None:
        """Prove that the broker answers, or raise StoreError or ConfigurationError."""
        return  # without it the first question will tell

    def listen(self) -> WakeUp | None:
        """Start hearing of new jobs; None when the broker has no way to tell."""
        return None
