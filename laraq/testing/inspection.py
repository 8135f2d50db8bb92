"""QueuedJobs: what Queue.size() and the like tell of jobs that a fake or the queue of a test holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from laraq.messages.inspection import InspectedJob, QueueState
from laraq.messages.payload import Payload


class QueuedJob(NamedTuple):
    """One job that is held."""

    queue: str
    payload: Payload
    state: QueueState


class QueuedJobs:
    """Implements `laraq.ports.Inspection` for one connection."""

    def __init__(self, held: Callable[[], Iterable[QueuedJob]], drop: Callable[[str], int]) -> None:
        self._held = held
        self._drop = drop

    def size(self, queue: str) -> int:
        """Jobs in any state."""
        return sum(job.queue == queue for job in self._held())

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""
        return len(self.jobs(queue, state))

    def jobs(self, queue: str, state: QueueState, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs in that state, in the order they were sent."""
        found = [_inspected(job) for job in self._held() if job.queue == queue and job.state is state]
        return found[:limit]

    def clear(self, queue: str) -> int:
        """Drop the jobs of the queue; return how many."""
        return self._drop(queue)


def _inspected(job: QueuedJob) -> InspectedJob:
    payload, sent_at = job.payload, job.payload.created_at
    return InspectedJob(
        id=payload.id,
        queue=job.queue,
        name=str(payload.options.get("display_name") or payload.job),
        attempts=payload.attempts,
        payload=payload.to_dict(),
        created_at=None if sent_at is None else datetime.fromtimestamp(sent_at, UTC),
    )
