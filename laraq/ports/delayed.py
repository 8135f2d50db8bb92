"""Messages that are not due yet, for brokers that would leave them in a worker's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DelayedMessage:
    """A message as the host wrote it; nobody else reads `body`."""

    #: Of this message, not of the job: a job that is sent twice waits twice.
    id: str
    queue: str
    body: str


@dataclass(frozen=True, slots=True)
class Due:
    """What has come due."""

    #: Longest due first.
    messages: Sequence[DelayedMessage]
    #: Seconds until there is something to take again, 0 for now; None when nothing waits.
    next_due: float | None


class Delayed(Protocol):
    """Messages that wait for their time. `broker` names where they go; a store may hold those of several.

    Seconds are counted by the store's clock, to the millisecond.
    """

    #: Whether other processes see what is put here.
    shared: bool

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all of the messages durably, each due in so many seconds, or raise and keep any part of them."""

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Up to `limit` due messages, which nobody else is given for `seconds`; they stay until they are forgotten."""

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; say how many were there."""

    def count(self, broker: str, queue: str) -> int:
        """How many messages wait for that queue."""

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next one first."""

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers of which a message has been due for longer than `seconds`: nobody seems to take them."""
