"""PublishBatch: the batch that `Producer.batch()` of kombu 5.7 fills, put at once."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, TypeAlias

from laraq_kombu.store import Posting

#: A job that waits to be put with others, and the monotonic time from which its delay counts.
Waiting: TypeAlias = tuple[Posting, float]


def to_put(waiting: Iterable[Waiting]) -> list[Posting]:
    """The postings as they are put now: a store counts a delay from the moment it gets the job."""
    now = time.monotonic()
    return [
        posting._replace(delay=max(posting.delay - (now - since), 0.0)) if posting.delay else posting
        for posting, since in waiting
    ]


class PublishBatch:
    """Buffers up to `max_size` messages."""

    def __init__(self, channel: Any, max_size: int) -> None:
        #: A StoreChannel.
        self.channel = channel
        self._max_size = max_size
        self._waiting: list[Waiting] = []

    def publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Buffer messages to a queue; messages to exchanges are published at once, because they may fan out."""
        if exchange:
            self.flush()  # keep the order
            self.channel.basic_publish(message, exchange, routing_key, **kwargs)
            return
        self.channel._inplace_augment_message(message, exchange, routing_key)
        self._waiting.append((self.channel.posting(routing_key, message), time.monotonic()))
        if len(self._waiting) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Put the buffered messages; they are kept for another try if the store fails."""
        if self._waiting:
            self.channel.store.put(to_put(self._waiting))
            self._waiting = []

    def discard(self) -> None:
        """Drop the buffered messages."""
        self._waiting = []

    def close(self) -> None:
        """Nothing to close."""
