"""The Protocols that adapters implement. Each docstring is the guarantee the core relies on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from laraq.delivery import JournalEntry
from laraq.failure import FailedJob, FailedJobQuery
from laraq.inspection import InspectedJob, QueueState
from laraq.link import Link
from laraq.payload import Payload
from laraq.tally import BatchQuery, BatchRecord, MemberState, Settled, Tally


class QueueConnection(Protocol):
    """One place jobs are sent to."""

    #: The name jobs use for it in `on_connection`.
    name: str
    #: Whether `push` runs the job and returns its result, instead of queueing it.
    immediate: bool

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Send the job, or raise DispatchError; when it returns, the broker has the job.

        The answer is the host's view of the result, or a function that makes it when somebody asks.
        """

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Send many jobs with their delays; like `push` for each, in as few round trips as the broker allows.

        Raises DispatchError with the number of those that the broker is not known to have.
        """

    def default_queue(self) -> str:
        """Name of the queue a job goes to when nobody says otherwise."""


class Host(Protocol):
    """What carries the jobs: an application of a task queue, to which Laraq is attached."""

    #: Names the application in logs, and its parked jobs in the store: the same in all of its processes.
    label: str
    #: Exceptions by which the host steers a run itself; the runner lets them pass.
    control_flow: tuple[type[BaseException], ...]

    def settings(self) -> Mapping[str, Any]:
        """The `laraq_*` settings of the application, without the prefix."""

    def store_urls(self) -> Sequence[str]:
        """URLs the application has configured where a store could live, best first."""

    def aliases(self) -> Sequence[str]:
        """Other names of the default connection, such as its broker's kind."""

    def connect(self, name: str, config: Mapping[str, Any]) -> QueueConnection:
        """A connection to the application's own broker, or to the one at `config["url"]`."""

    def migrate(self) -> Sequence[str]:
        """Make what the application's broker keeps in a database of ours; name the steps taken."""

    def task(self, cls: Any) -> Any:
        """The host's own task of a Job class."""

    def result(self, id: str) -> Any:
        """The host's own view of a job's result."""

    def injectables(self) -> Mapping[Any, Any]:
        """What handlers may ask for by type."""

    def foreign(self, thing: Any, id: str) -> Link | None:
        """The host's own unit of work (a Celery signature), to be sent under that id; None when `thing` is none."""


class FailedJobs(Protocol):
    """Where failed jobs are kept until somebody retries or forgets them."""

    def record(self, failed: FailedJob) -> None:
        """Keep the record durably; a record with the same id is replaced."""

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that very moment, when given); say whether it was there."""

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; say how many."""

    def count(self, query: FailedJobQuery | None = None) -> int:
        """How many records match."""


class BatchCounts(Protocol):
    """Counts batches by job, so that a job told twice counts once. Every method is atomic and may be repeated.

    A change that leaves every job accounted for and no load under way sets `finished_at`, which then stays until one
    opens the batch again. Every change takes the mark CLOSED away. What is not there (any more) is None.
    """

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch whose members so far are these, its FIRST_LOAD under way; an id that is known stays.

        Of the record, counts and moments are the store's to set.
        """

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`.

        None, and nothing is added, when the batch is gone, or is cancelled and the load is not under way yet.
        """

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """The load is over; without `keep` those of its jobs that are still pending are members no more."""

    def settle(self, id: str, job: str, outcome: MemberState, dropped: Sequence[str] = ()) -> Settled | None:
        """Note how a job ended (`MemberState.after`), and that pending `dropped` will never run.

        A job that was no member becomes one; `dropped` that are none are left out. The first failure cancels a batch
        that does not allow failures. PENDING opens the batch again for a job that failed or was dropped.
        """

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at`, if it was not set."""

    def mark(self, id: str, event: str) -> bool:
        """Add to `sent`; say whether it was not there."""


class BatchRecords(Protocol):
    """The batches that are kept."""

    def find(self, id: str) -> BatchRecord | None:
        """The batch, or None."""

    def all(self, query: BatchQuery | None = None) -> Sequence[BatchRecord]:
        """The batches that match, newest first."""

    def jobs(self, id: str, state: MemberState) -> Sequence[str]:
        """The ids of its jobs in that state, in the order they were added."""

    def delete(self, query: BatchQuery) -> int:
        """Drop every batch that matches, its members too, without holding locks for long; say how many."""

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished that long ago and are not marked CLOSED."""

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch id and load of loads that were neither continued nor ended in time."""


class Batches(BatchCounts, BatchRecords, Protocol):
    """Where batches are counted and kept."""


class Journal(Protocol):
    """Which job each worker process runs and which it finished last: what a redelivered message is judged by."""

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        """Replace what `writer` says; once it returns, a kill -9 of this process does not undo it."""

    def find(self, run_key: str) -> JournalEntry | None:
        """The furthest entry of any writer about that job (highest attempt, then ended over running), or None."""

    def claim(self, run_key: str, attempt: int) -> bool:
        """Say True to exactly one caller for that start of that job, for a day at least."""

    def erase(self, writer: str) -> None:
        """Forget the writer; for processes that end cleanly."""

    def prune(self, silent_for: timedelta) -> int:
        """Forget writers that wrote nothing for that long; say how many."""


@runtime_checkable
class Store(Protocol):
    """Where laraq keeps what is not in the broker. Safe to use after fork and from several threads."""

    #: Shown in logs and errors; never holds a password.
    label: str
    #: Whether it is a database with transactions: batches are counted there by default.
    relational: bool

    @property
    def failed(self) -> FailedJobs:
        """The failed jobs kept here."""

    @property
    def batches(self) -> Batches:
        """The batches counted here."""

    @property
    def journal(self) -> Journal:
        """The journal kept here."""

    @property
    def locks(self) -> Locks:
        """The locks held here."""

    @property
    def limits(self) -> Limits:
        """The limits counted here."""

    @property
    def cache(self) -> Cache:
        """The cache kept here."""

    @property
    def parking(self) -> Parking:
        """The jobs that wait here for a lock or for limits."""

    @property
    def delayed(self) -> Delayed:
        """The messages that wait here for their time."""

    def migrate(self) -> Sequence[str]:
        """Bring the schema to this version of laraq; idempotent; name the steps taken, none when up to date."""

    def close(self) -> None:
        """Let go of connections; the store may be used again and then reconnects."""


class Models(Protocol):
    """An ORM whose mapped instances travel as identifiers."""

    def handles(self, type_: Any) -> bool:
        """Whether `type_` is a mapped class of this ORM."""

    def identify(self, instance: Any, relations: bool = True) -> Mapping[str, Any]:
        """A JSON-ready identifier: class, primary key, and with `relations` the names of the loaded relationships."""

    def open(self) -> None:
        """Begin the unit of work of one job, inside that of an outer one if there is; nothing connects yet."""

    def fetch(self, type_: Any, identifiers: Sequence[Mapping[str, Any]]) -> Sequence[Any | None]:
        """The rows in the order asked for, None where one is gone, with those relationships loaded."""

    def close(self) -> None:
        """End the innermost unit of work."""

    def bind(self, container: Any) -> None:
        """Tell the container what of it handlers may ask for by type."""


# Locks and limits. Their seconds are counted by the store's clock, to the millisecond, never by the worker's.


class Locks(Protocol):
    """Leases on names. Every lease ends by itself, so a killed holder blocks the others only that long."""

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Have `owner` hold the key until `seconds` from now, anew or still; False when `slots` others hold it."""

    def release(self, key: str, owner: str) -> bool:
        """Free the key if `owner` still holds it, and nobody else's lease; say whether it did."""

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Let `owner` hold the key until `seconds` from now if it still does; a lease that is over stays over."""

    def owner(self, key: str) -> str | None:
        """Who holds the key now; of several holders the one whose lease ends last."""

    def force_release(self, key: str) -> bool:
        """End every lease on the key; say whether there was one."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one limit is asked for."""

    key: str
    #: What the limit allows in one window.
    maximum: int
    #: Length of its windows. They are aligned: window n goes from n * seconds to (n + 1) * seconds after the epoch.
    seconds: float
    #: What is taken out of it.
    cost: int = 1

    @property
    def milliseconds(self) -> int:
        """The length in the unit stores count in, at least 1."""
        return max(round(self.seconds * 1000), 1)


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to demands; true when they were granted."""

    granted: bool
    #: Seconds until the last window that had too little left is over, 0 when granted.
    available_in: float
    #: What is left after this answer, in the order of the demands.
    remaining: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.granted


@dataclass(frozen=True, slots=True)
class Usage:
    """What a limit's window holds at the moment."""

    used: int
    #: Seconds until the window is over.
    ends_in: float


class Limits(Protocol):
    """Counts in fixed, aligned windows. A window in progress keeps its end, whatever length later demands name."""

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically: no window ever gives more than its maximum."""

    def usage(self, key: str) -> Usage:
        """What was taken in the window in progress; nothing, ending in 0 s, when there is none."""

    def clear(self, key: str) -> None:
        """Forget what was taken."""


#: Seconds for which a lock that is freed is kept for the parked job it was handed to. Longer than a message takes to an
#: idle worker; when the queue is longer, others may run meanwhile.
HAND_OVER = 1.0

#: Seconds after which a line for a lock is looked at again: locks are also freed by those who know nothing of parking.
LOOK = 2.0

#: Seconds after which a job that was called is called again, unless it was said to be sent.
CALL_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """Where parked jobs wait for the same thing, in the order they came."""

    #: Whose jobs they are: only the same application can send them.
    home: str
    #: They wait for this lock to be free ...
    lock: str | None = None
    #: ... or for room in all of these limits.
    limits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Names it in the store."""
        return json.dumps([self.home, self.lock, *self.limits], ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Line:
        """The inverse of `text`."""
        home, lock, *limits = json.loads(text)
        return cls(home, lock, tuple(limits))


@dataclass(frozen=True, slots=True)
class ParkedJob:
    """A job that waits in a line; one per owner."""

    line: Line
    #: Who will hold the lock.
    owner: str
    #: What to send when it is called.
    message: str
    #: Its place in the line, by the store's clock; 0 is the end.
    since: int = 0
    #: What it asks of the line's limits, in their order.
    demands: tuple[Demand, ...] = ()


class Parking(Protocol):
    """Jobs that wait in lines, first come first served. Who is called is to be sent, and then said to be `sent`.

    A job is kept from `park` to `sent`: one that was called and not sent is called again. So a crash may send it twice,
    never not at all.
    """

    #: Seconds until then: CALL_AGAIN, unless somebody sets it.
    call_again: float
    #: Seconds after which a line for a lock is looked at again: LOOK, unless somebody sets it.
    look: float

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job durably, in place of what its owner had in this line; then `call`, which may call it at once.

        Its place is `since`, or the one it had, or the end.
        """

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Call whom nothing stands in the way of now, unless the line is not due yet.

        For a lock that is free the first in line; for limits as many of the first as the windows have room for.
        """

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease on the line's lock, and its place in the line; say whether it still held the lock.

        Then the first in line is called and holds the lock for HAND_OVER seconds.
        """

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were called, but not those that were parked anew since."""

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """Up to 100 lines that are due, and the seconds until the next one is; None when there is none."""

    def count(self, line: Line) -> int:
        """How many jobs wait to be called."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A live value of the cache."""

    value: str
    #: Seconds it still lives.
    ends_in: float

    @property
    def count(self) -> int:
        """The value of a key that is only ever incremented."""
        return int(self.value)


class Cache(Protocol):
    """Short texts and counts that all processes see. Every one ends by itself."""

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value, whatever was there, to live for `seconds`."""

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is alive; of any number of racing calls exactly one is told that it did."""

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count, losing no racing call; the first one lets it live for `seconds`, later ones keep that end."""

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop it (only while it is still `value`, when given); say whether that was there."""


# Transactions of the application's own database, for jobs that wait for a commit.


class Transactions(Protocol):
    """The transactions of one database library, as they are open in this thread or asyncio task."""

    def handles(self, session: Any) -> bool:
        """Whether `session` is one of this library."""

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any = None) -> bool:
        """Call `send` once the outermost open transaction (of `session`, when given) is committed, or `on_rollback`
        once that or the savepoint open now ended otherwise: one of them, once. False when none is open: neither."""

    def open_session(self, session: Any = None) -> Any | None:
        """The session whose transaction is open here (`session`, when given), None when there is none."""


# What is in the queues of a connection.


class Inspection(Protocol):
    """Looks into queues and changes nothing but by `clear`. Queues nobody has heard of are empty.

    Every method raises NotInspectableError when the broker has no way to tell, InspectionError when it does not answer.
    While workers take jobs and producers add some, a count or list may miss or repeat the ones that move.
    """

    def size(self, queue: str) -> int:
        """Jobs in any state the broker can count."""

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""

    def jobs(self, queue: str, state: QueueState, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs in that state, next one first, at most `limit`."""

    def clear(self, queue: str) -> int:
        """Drop the jobs of every state the broker can reach, and say how many; those that run now run on."""


# Messages that are not due yet, for brokers that would leave them in a worker's memory.


@dataclass(frozen=True, slots=True)
class DelayedMessage:
    """A message as the host wrote it; nobody else reads `body`."""

    #: Of this message, not of the job: a job that is sent twice waits twice.
    id: str
    queue: str
    body: str


@dataclass(frozen=True, slots=True)
class Due:
    """What has come due."""

    #: Longest due first.
    messages: Sequence[DelayedMessage]
    #: Seconds until there is something to take again, 0 for now; None when nothing waits.
    next_due: float | None


class Delayed(Protocol):
    """Messages that wait for their time. `broker` names where they go; a store may hold those of several.

    Seconds are counted by the store's clock, to the millisecond.
    """

    #: Whether other processes see what is put here.
    shared: bool

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all of the messages durably, each due in so many seconds, or raise and keep any part of them."""

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Up to `limit` due messages, which nobody else is given for `seconds`; they stay until they are forgotten."""

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; say how many were there."""

    def count(self, broker: str, queue: str) -> int:
        """How many messages wait for that queue."""

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next one first."""

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers of which a message has been due for longer than `seconds`: nobody seems to take them."""
