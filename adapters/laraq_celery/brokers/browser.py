"""Browser: what one kind of broker can tell about its queues, over a channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from laraq.inspection import QueueState

#: A message as kombu's virtual transports write it, how often it was given to a worker, and the epoch seconds at which
#: it was put into the queue, where the broker knows. A plain tuple: transports of other packages give it as well.
Found: TypeAlias = tuple[dict[str, Any], int, float | None]


class Browser(Protocol):
    """A transport of its own brings one along as `channel.browser()`."""

    def size(self, queue: str) -> int:
        """Messages in any state that can be counted."""

    def count(self, queue: str, state: QueueState) -> int:
        """Messages in that state, or NotInspectableError."""

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """At most `limit` messages in that state, next one first, or NotInspectableError."""

    def clear(self, queue: str) -> int:
        """Drop all that can be reached; say how many."""
