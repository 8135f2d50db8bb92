"""Connections: the places jobs are sent to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from laraq.messages.payload import Payload


class QueueConnection(Protocol):
    """A place to which jobs are sent."""

    #: Its name in `on_connection`.
    name: str
    #: Whether `push` runs the job and returns its result, instead of queueing it.
    immediate: bool

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Send the job, or raise DispatchError; when it returns, the broker has the job.

        Returns the host's view of the result, or a function that creates it on demand.
        """

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Send many jobs with their delays, as `push` for each, in as few round trips as the broker allows.

        Raises DispatchError with the number of jobs that the broker is not known to have.
        """

    def default_queue(self) -> str:
        """Name of the queue for jobs that name none."""
