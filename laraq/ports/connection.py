"""Connections: where jobs are sent to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from laraq.messages.payload import Payload


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
