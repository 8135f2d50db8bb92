"""PublishBatch: what `Producer.batch()` of kombu 5.7 fills, put in one go."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from laraq_kombu.store import JobStore, Posting


class BatchingChannel(Protocol):
    """What of a channel is needed."""

    @property
    def store(self) -> JobStore:
        """Where it puts jobs."""

    def posting(self, queue: str, message: dict[str, Any]) -> Posting:
        """What to put for a message."""

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> Any:
        """Publish one at once."""

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None: ...


class Collected:
    """Jobs that wait to be put together. A store counts a delay from the moment it gets the job, so what of it has
    passed by then is taken off."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Posting, float]] = []

    def add(self, posting: Posting) -> None:
        """Its delay counts from now."""
        self._jobs.append((posting, time.monotonic()))

    def postings(self) -> Sequence[Posting]:
        """All of them, as they are to be put now."""
        now = time.monotonic()
        return [
            posting._replace(delay=max(posting.delay - (now - since), 0.0)) if posting.delay else posting
            for posting, since in self._jobs
        ]

    def clear(self) -> None:
        """Forget them."""
        self._jobs = []

    def __len__(self) -> int:
        return len(self._jobs)


class PublishBatch:
    """Buffers up to `max_size` messages."""

    def __init__(self, channel: BatchingChannel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        self._collected = Collected()

    def publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Buffer what goes straight to a queue; exchanges are served at once, they may fan out."""
        if exchange:
            self.flush()  # keep the order
            self.channel.basic_publish(message, exchange, routing_key, **kwargs)
            return
        self.channel._inplace_augment_message(message, exchange, routing_key)
        self._collected.add(self.channel.posting(routing_key, message))
        if len(self._collected) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Put what is buffered; kept for another try when the store fails."""
        if len(self._collected):
            self.channel.store.put(self._collected.postings())
            self._collected.clear()

    def discard(self) -> None:
        """Forget what is buffered."""
        self._collected.clear()

    def close(self) -> None:
        """Nothing is held open."""
