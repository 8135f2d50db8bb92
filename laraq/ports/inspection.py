"""Inspection of the queues of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from laraq.messages.inspection import InspectedJob, QueueState


class Inspection(Protocol):
    """Reads queues; only `clear` changes them. Unknown queues are empty.

    Every method raises NotInspectableError when the broker cannot tell, and InspectionError when it does not answer.
    While workers take jobs and producers add some, a count or list may miss or repeat moving jobs.
    """

    def size(self, queue: str) -> int:
        """The number of jobs in all states that the broker can count."""

    def count(self, queue: str, state: QueueState) -> int:
        """The number of jobs in that state."""

    def jobs(self, queue: str, state: QueueState, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs in that state, next first, at most `limit`."""

    def clear(self, queue: str) -> int:
        """Drop the jobs of every state the broker can reach; return how many. Running jobs continue."""
