"""Batches: how they are counted and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from laraq.messages.tally import BatchQuery, BatchRecord, MemberState, Settled, Tally


class BatchCounts(Protocol):
    """Counts batches by job, so that a job reported twice counts once. Every method is atomic and may be repeated.

    A change after which every job is accounted for and no load is in progress sets `finished_at`, which stays until a
    change opens the batch again. Every change removes the mark CLOSED. Methods return None for a batch that does not
    exist (any more).
    """

    #: Whether `settle` is complete, or certain to be completed by a server even if this process dies, a moment after
    #: the call; False if it may wait for other processes.
    settles_at_once: bool

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch with these first members, its FIRST_LOAD in progress; a batch whose id exists is kept.

        The store sets the counts and moments of the record.
        """

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`.

        None, and nothing is added, if the batch does not exist, or is cancelled and the load is not in progress yet.
        """

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """End the load; without `keep`, its jobs that are still pending are no longer members."""

    def settle(self, id: str, outcome: MemberState, *jobs: str, dropped: Sequence[str] = ()) -> Settled | None:
        """Record how jobs ended, and that pending `dropped` will never run: `tally.moves` and `tally.moved`.

        A job that was not a member becomes one; `dropped` jobs that are not members are ignored. PENDING opens the
        batch again for a job that failed or was dropped.
        """

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at` unless it is set."""

    def mark(self, id: str, event: str) -> bool:
        """Add an event to `sent`; return whether it was new."""


class BatchRecords(Protocol):
    """The batches that are kept."""

    def find(self, id: str) -> BatchRecord | None:
        """The batch, or None."""

    def all(self, query: BatchQuery | None = None) -> Sequence[BatchRecord]:
        """The batches that match, newest first."""

    def jobs(self, id: str, state: MemberState) -> Sequence[str]:
        """The ids of its jobs in that state, in the order they were added."""

    def state(self, id: str, job: str) -> MemberState | None:
        """The state of one of its jobs; None when it has no such job."""

    def delete(self, query: BatchQuery) -> int:
        """Delete every batch that matches, with its members, without holding locks for long; return how many."""

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished at least that long ago and are not marked CLOSED."""

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch ids and names of loads that were neither continued nor ended in time."""


class Batches(BatchCounts, BatchRecords, Protocol):
    """Where batches are counted and kept."""
