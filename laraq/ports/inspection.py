"""What is in the queues of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from laraq.messages.inspection import InspectedJob, QueueState


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
