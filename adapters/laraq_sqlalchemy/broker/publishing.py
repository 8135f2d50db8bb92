"""PublishBatch: what `Producer.batch()` of kombu 5.7 fills, written in one statement."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from laraq_kombu import Posting

if TYPE_CHECKING:
    from laraq_sqlalchemy.broker.channel import Channel


class PublishBatch:
    """Buffers up to `max_size` rows."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        #: Each with the moment from which its delay counts: the store counts from the one it is written at.
        self._postings: list[tuple[Posting, float]] = []

    def publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Buffer what goes straight to a queue; exchanges are served at once, they may fan out."""
        if exchange:
            self.flush()  # keep the order
            self.channel.basic_publish(message, exchange, routing_key, **kwargs)
            return
        self.channel._inplace_augment_message(message, exchange, routing_key)
        self._postings.append((self.channel.posting(routing_key, message), time.monotonic()))
        if len(self._postings) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered; kept for another try when the store fails."""
        if self._postings:
            now = time.monotonic()
            self.channel.open_transport.store.put([
                posting._replace(delay=max(posting.delay - (now - since), 0.0)) if posting.delay else posting
                for posting, since in self._postings
            ])  # fmt: skip
            self._postings = []

    def discard(self) -> None:
        """Forget what is buffered."""
        self._postings = []

    def close(self) -> None:
        """Nothing is held open."""
