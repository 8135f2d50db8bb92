"""The journal of the worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol


class RunState(StrEnum):
    """How far a run got, as the journal notes it."""

    RUNNING = "running"
    #: The job succeeded; what follows it in its chain or batch is being told.
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
        """Whether the bookkeeping of this run was finished."""
        return self.state not in (RunState.RUNNING, RunState.FINISHED)

    def rank(self) -> tuple[int, bool]:
        """Orders entries about one job by how far it got."""
        return (self.attempt, self.ended)


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
