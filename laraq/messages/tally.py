"""Tally: the counts of a batch, and the events due by them. BatchRecord: all data kept of a batch.

MemberState: how far a member got. Every rule of batches is a function here; stores keep rows and apply the rules.

(Illuminate/Bus/Batch.php, DatabaseBatchRepository.php; there a batch is three counters, here it counts by job.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar


class MemberState(StrEnum):
    """How far a job of a batch got."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    #: The job will never run, because its chain broke before it.
    DROPPED = "dropped"

    def after(self, outcome: MemberState) -> MemberState:
        """The state after this outcome: done is final, and only a run can end a failed or dropped state."""
        if self is MemberState.DONE or (self is MemberState.FAILED and outcome is MemberState.DROPPED):
            return self
        return outcome


#: The load with which a batch is created: the jobs that `Bus.batch([...]).dispatch()` sends.
FIRST_LOAD = "first"

#: Seconds that a load may pause before its sender counts as dead.
LOAD_SECONDS = 120.0

#: Marks a finished batch of which nothing is left to send.
CLOSED = "closed"

#: The events of callbacks, in the order in which they are sent if several are due at once.
EVENTS = ("before", "progress", "failure", "catch", "then", "finally")

#: Events of one job, not of the batch: they may be due again and are not marked.
EVENTS_OF_JOBS = frozenset({"progress", "failure"})

#: Events whose callbacks get the batch with its counts at that time, however late they are called.
COUNTED_EVENTS = EVENTS_OF_JOBS | {"catch"}

#: Events whose callbacks must be over before something else starts: the jobs, and `finally`.
AWAITED = ("before", "catch", "then")

#: The counts of a Tally.
COUNTS = ("total", "done", "failed", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of a batch. `total` = `pending` + `done`, as in Laravel: a failure does not lower `pending`."""

    id: str
    total: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    #: Loads in progress: the batch cannot finish while jobs are still being added.
    loads: int = 0
    allow_failures: bool = False
    #: Events with callbacks.
    wants: frozenset[str] = frozenset()
    #: Events whose callbacks were sent.
    sent: frozenset[str] = frozenset()
    #: Aware, UTC, by the store's clock, like all times here.
    cancelled_at: datetime | None = None
    #: When every job was accounted for.
    finished_at: datetime | None = None

    @property
    def pending(self) -> int:
        """The number of jobs that have not succeeded yet."""
        return self.total - self.done

    @property
    def unsettled(self) -> int:
        """The number of jobs without an outcome yet."""
        return self.total - self.done - self.failed - self.dropped

    @property
    def complete(self) -> bool:
        """Whether every job is accounted for."""
        return self.loads == 0 and self.unsettled == 0


#: A Tally or BatchRecord.
T = TypeVar("T", bound=Tally)


def moves(
    states: Mapping[str, MemberState], outcome: MemberState, jobs: Sequence[str], dropped: Sequence[str] = ()
) -> dict[str, MemberState]:
    """The new states of members when jobs ended with this outcome and `dropped` will never run, if they change.

    `states` are those of the jobs that are members. Other `jobs` join, other `dropped` jobs are ignored.
    """
    after = {job: states[job].after(outcome) if job in states else outcome for job in jobs}
    for job in dropped:
        if states.get(job) is MemberState.PENDING:
            after.setdefault(job, MemberState.DROPPED)
    return {job: state for job, state in after.items() if states.get(job) is not state}


def moved(tally: T, states: Mapping[str, MemberState], moves: Mapping[str, MemberState], now: datetime) -> T:
    """The counts of a batch after some moves. The first failure cancels a batch that allows none."""
    more = Counter(moves.values())
    more.subtract(states[job] for job in moves if job in states)
    cancel = MemberState.FAILED in moves.values() and not tally.allow_failures
    joined = sum(job not in states for job in moves)
    done, failed, dropped = more[MemberState.DONE], more[MemberState.FAILED], more[MemberState.DROPPED]
    return changed(tally, now, cancel=cancel, total=joined, done=done, failed=failed, dropped=dropped)


def changed(tally: T, now: datetime, *, cancel: bool = False, **more: int) -> T:
    """The batch with its counts increased by `more`: open or finished, and not CLOSED."""
    after = replace(
        tally,
        **{name: getattr(tally, name) + number for name, number in more.items()},
        sent=tally.sent - {CLOSED},
        cancelled_at=tally.cancelled_at or (now if cancel else None),
    )
    return replace(after, finished_at=(after.finished_at or now) if after.complete else None)


def happened(tally: Tally, outcome: MemberState | None = None) -> frozenset[str]:
    """The events that have happened in a batch, including those of a job with this outcome."""
    found = set()
    if outcome is MemberState.DONE or (outcome is MemberState.FAILED and tally.allow_failures):
        found.add("progress")
    if outcome is MemberState.FAILED:
        found.add("catch")
        if tally.allow_failures:
            found.add("failure")
    if tally.complete and not awaits(tally, "before"):
        found.add("finally")
        if tally.pending == 0:
            found.add("then")
    return frozenset(found)


def due(tally: Tally, outcome: MemberState | None = None) -> list[str]:
    """The events whose callbacks must be sent now, in the order of `EVENTS`."""
    unsent = (happened(tally, outcome) & tally.wants) - tally.sent
    if "finally" in unsent and _keeps_finally(tally):
        unsent -= {"finally"}
    return [event for event in EVENTS if event in unsent] if unsent else []


def _keeps_finally(tally: Tally) -> bool:
    catches = tally.failed > 0 or "catch" in tally.sent
    return (tally.pending == 0 and awaits(tally, "then")) or (catches and awaits(tally, "catch"))


def awaits(tally: Tally, event: str) -> bool:
    """Whether something must wait because not every callback of that event is over."""
    return any(want.startswith(f"{event}.") for want in tally.wants - tally.sent)


def awaited(callbacks: Mapping[str, Sequence[Any]]) -> frozenset[str]:
    """The marks of a batch with these callbacks: one for each callback that something waits for.

    In `Tally.wants` a mark means that something waits, in `Tally.sent` that the callback is over. Batches of earlier
    versions have none.
    """
    events = AWAITED if "finally" in callbacks else AWAITED[:1]
    return frozenset(mark(event, number) for event in events for number in range(len(callbacks.get(event, ()))))


def mark(event: str, number: int) -> str:
    """The mark of one callback of an event."""
    return f"{event}.{number}"


def closes(tally: Tally) -> bool:
    """Whether nothing is left to send for a batch that is not marked CLOSED: only its callbacks go on.

    The process that counted the first failure is about to queue `catch`, with the error, which only it has; if it
    died, the reconciler does.
    """
    begun = not awaits(tally, "before")  # which may add jobs
    return tally.complete and begun and CLOSED not in tally.sent and not lacks_catch(tally)


def lacks_catch(tally: Tally) -> bool:
    """Whether a failure is counted whose `catch` is not queued yet."""
    return tally.failed > 0 and "catch" in tally.wants - tally.sent


def counts_at(tally: Tally, outcome: MemberState | None, later: int) -> dict[str, int]:
    """The counts when `later` of the jobs with this outcome, reported in the same step, were not counted yet."""
    counts = {name: int(getattr(tally, name)) for name in COUNTS}
    if outcome in (MemberState.DONE, MemberState.FAILED):
        counts[outcome.value] = max(0, counts[outcome.value] - later)
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord(Tally):
    """One row of the batches table."""

    name: str = ""
    #: Callbacks, connection, queue and the user's own values; JSON-ready.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Set by the store.
    created_at: datetime | None = None


def as_of(record: BatchRecord, counts: Mapping[str, Any]) -> BatchRecord:
    """The batch when it had these counts (`counts_at`); without counts, unchanged."""
    if not counts:
        return record
    counted: dict[str, Any] = {name: int(counts[name]) for name in COUNTS if name in counts}
    found = replace(record, **counted)
    return found if found.unsettled == 0 else replace(found, finished_at=None)


class Settled(NamedTuple):
    """The answer to an outcome."""

    tally: Tally
    #: Whether it changed one of the jobs; if not, an earlier reporter may have died before it acted on it.
    changed: bool


class Success(NamedTuple):
    """A job of a batch that succeeded, as reported by another process than the one that ran it."""

    job: str
    #: `Payload.run_key`.
    key: str
    #: The context (`laraq.context`) that the resulting callbacks inherit.
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """A selection of batches; every given part narrows it."""

    ids: tuple[str, ...] | None = None
    #: None: both. Finished: every job accounted for.
    finished: bool | None = None
    cancelled: bool | None = None
    #: Only batches created at or before this moment.
    created_before: datetime | None = None
    #: Only batches finished at or before this moment.
    finished_before: datetime | None = None
    limit: int | None = None

    def matches(self, batch: BatchRecord) -> bool:
        """The rule in Python, for stores that cannot express it in their own language."""
        return (
            (self.ids is None or batch.id in self.ids)
            and (self.finished is None or (batch.finished_at is not None) == self.finished)
            and (self.cancelled is None or (batch.cancelled_at is not None) == self.cancelled)
            and (self.created_before is None or _by(batch.created_at, self.created_before))
            and (self.finished_before is None or _by(batch.finished_at, self.finished_before))
        )


def _by(moment: datetime | None, limit: datetime) -> bool:
    return moment is not None and moment <= limit
