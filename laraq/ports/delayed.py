"""Messages that are not due yet, for brokers that would keep them in a worker's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DelayedMessage:
    """A message as the host wrote it; only the host reads `body`."""

    #: The id of this message, not of the job: a job that is sent twice waits twice.
    id: str
    queue: str
    body: str


@dataclass(frozen=True, slots=True)
class Due:
    """The messages that are due."""

    #: The message that has been due longest comes first.
    messages: Sequence[DelayedMessage]
    #: Seconds until there is a message to take again, 0 for now; None when none waits.
    next_due: float | None


class Delayed(Protocol):
    """Messages that wait for their time. `broker` names where they go; a store may hold messages of several brokers.

    Seconds are counted by the store's clock, to the millisecond.
    """

    #: Whether other processes see the messages.
    shared: bool

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all messages durably, each due in its number of seconds, or raise and keep any part of them."""

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Return up to `limit` due messages and hide them from other callers for `seconds`; `forget` removes them."""

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; return how many existed."""

    def count(self, broker: str, queue: str) -> int:
        """The number of messages that wait for that queue."""

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next first."""

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers with a message that has been due for longer than `seconds`: no worker seems to take them."""
