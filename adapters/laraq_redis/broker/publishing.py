"""RedisPublishBatch: kombu 5.7's, in which delayed jobs do not lose the time they wait in the batch."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from typing import Any

from kombu.transport import redis as kombu_redis

from laraq_kombu import Posting, new_put
from laraq_kombu.publishing import Waiting, to_put


class RedisPublishBatch(kombu_redis.PublishBatch):
    """The delay of a job is set when the batch is sent, by the clock of Redis."""

    def __init__(self, channel: Any, max_size: int) -> None:
        super().__init__(channel, max_size)
        self._waiting: list[Waiting] = []

    def put(self, posting: Posting) -> None:
        """Collect the posting."""
        self._waiting.append((posting, time.monotonic()))
        if len(self._waiting) >= self.max_size:
            self.flush()

    def flush(self) -> None:
        """Send the buffered postings, once."""
        self._check_usable()
        queues: dict[str, list[Posting]] = {}
        for posting in to_put(self._waiting):
            queues.setdefault(posting.queue, []).append(posting)
        for queue, postings in queues.items():
            # In one call: each further call would begin only when the previous ones are done.
            self.pipeline.eval(*self.channel.store.putting(queue, postings, new_put()))
        self._buffered += len(queues)
        self._waiting = []
        super().flush()

    def discard(self) -> None:
        """Drop postings that were not sent."""
        self._waiting = []
        super().discard()
