"""Browser: what one kind of broker can tell about its queues, over a channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from laraq.messages.inspection import QueueState
from laraq_kombu.browser import Found as Found
from laraq_kombu.browser import Notify as Notify


class Browser(Protocol):
    """A transport of its own brings one along as `channel.browser()`."""

    def size(self, queue: str) -> int:
        """Messages in any state that can be counted."""

    def count(self, queue: str, state: QueueState) -> int:
        """Messages in that state, or NotInspectableError."""

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """At most `limit` messages in that state, next one first, or NotInspectableError."""

    def clear(self, queue: str) -> int:
        """Drop all messages that can be reached, without notification; return how many."""


@runtime_checkable
class Draining(Protocol):
    """A browser that can hold on to what it drops until somebody was told; others' messages are taken one by one."""

    def drain(self, queue: str, notify: Notify) -> int:
        """Drop the delayed and pending messages, some hundred at a time; return how many. What workers have stays."""
