"""Batches: how they are counted and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from laraq.messages.tally import BatchQuery, BatchRecord, MemberState, Settled, Tally


class BatchCounts(Protocol):
    """Counts batches by job, so that a job told twice counts once. Every method is atomic and may be repeated.

    A change that leaves every job accounted for and no load under way sets `finished_at`, which then stays until one
    opens the batch again. Every change takes the mark CLOSED away. What is not there (any more) is None.
    """

    #: Whether `settle` is done, or in the hands of a server that does it whatever becomes of this process, a moment
    #: after it is called; False where it may wait for other processes.
    settles_at_once: bool

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

    def settle(self, id: str, outcome: MemberState, *jobs: str, dropped: Sequence[str] = ()) -> Settled | None:
        """Note how jobs ended, and that pending `dropped` will never run: `tally.moves` and `tally.moved`.

        A job that was no member becomes one; `dropped` that are none are left out. PENDING opens the batch again for a
        job that failed or was dropped.
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

    def state(self, id: str, job: str) -> MemberState | None:
        """How far one of its jobs is; None when it is none of them."""

    def delete(self, query: BatchQuery) -> int:
        """Drop every batch that matches, its members too, without holding locks for long; say how many."""

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished that long ago and are not marked CLOSED."""

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch id and load of loads that were neither continued nor ended in time."""


class Batches(BatchCounts, BatchRecords, Protocol):
    """Where batches are counted and kept."""
