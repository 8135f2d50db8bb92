"""The journal of the worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol


class RunState(StrEnum):
    """How far a run got, as recorded in the journal."""

    RUNNING = "running"
    #: The job succeeded; its chain or batch is being notified.
    FINISHED = "finished"
    DONE = "done"
    RELEASED = "released"
    FAILED = "failed"


class JournalEntry(NamedTuple):
    """One run of one job in the journal of the process that ran it."""

    #: `Payload.run_key`: the uuid, with the number of `laraq retry` calls behind it.
    run_key: str
    #: `Delivery.start`.
    attempt: int
    state: RunState

    @property
    def ended(self) -> bool:
        """Whether the bookkeeping of this run is finished."""
        return self.state not in (RunState.RUNNING, RunState.FINISHED)

    def rank(self) -> tuple[int, bool]:
        """Sort key of entries about one job: how far it got."""
        return (self.attempt, self.ended)


class Journal(Protocol):
    """The jobs that each worker process runs or has finished last, by which redelivered messages are judged."""

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        """Replace the entries of `writer`; after the return, a kill -9 of this process does not undo it."""

    def find(self, run_key: str) -> JournalEntry | None:
        """The furthest entry of any writer about that job (highest attempt, then ended over running), or None."""

    def claim(self, run_key: str, attempt: int) -> bool:
        """Return True to exactly one caller for that start of that job, for a day at least."""

    def erase(self, writer: str) -> None:
        """Forget the writer; for processes that end cleanly."""

    def prune(self, silent_for: timedelta) -> int:
        """Forget writers that have not written for that long; return how many."""
