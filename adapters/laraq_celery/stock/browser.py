"""Browser: reads the queues of one kind of broker over a channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from laraq.messages.inspection import QueueState
from laraq_kombu.browser import Found as Found
from laraq_kombu.browser import Notify as Notify


class Browser(Protocol):
    """laraq's own transports provide one as `channel.browser()`."""

    def size(self, queue: str) -> int:
        """The number of messages in all states that can be counted."""

    def count(self, queue: str, state: QueueState) -> int:
        """The number of messages in that state, or NotInspectableError."""

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """At most `limit` messages in that state, next first, or NotInspectableError."""

    def clear(self, queue: str) -> int:
        """Drop all messages that can be reached, without notification; return how many."""


@runtime_checkable
class Draining(Protocol):
    """A browser that can hold messages until `notify` has returned; other brokers' are drained one by one."""

    def drain(self, queue: str, notify: Notify) -> int:
        """Drop delayed and pending messages, some hundred at a time; return how many. Reserved messages stay."""
