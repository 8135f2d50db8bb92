"""PublishBatch: kombu 5.7's, in which delayed jobs do not lose the time they wait in the batch."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kombu.transport import redis as kombu_redis

from laraq_kombu import new_put
from laraq_redis.broker.store import Entry

if TYPE_CHECKING:
    from laraq_redis.broker.channel import Channel


class PublishBatch(kombu_redis.PublishBatch):
    """How long a delayed job is to wait is said when the batch is sent, by Redis' clock, so it is kept by ours until
    then."""

    channel: Channel

    def __init__(self, channel: Channel, max_size: int) -> None:
        super().__init__(channel, max_size)
        self._jobs: list[tuple[str, Entry, float]] = []

    def put(self, queue: str, job: Entry) -> None:
        """Collect it."""
        self._jobs.append((queue, job, time.monotonic()))
        if len(self._jobs) >= self.max_size:
            self.flush()

    def flush(self) -> None:
        """Send what is buffered, once."""
        self._check_usable()
        now, queues = time.monotonic(), dict[str, list[Entry]]()
        for queue, job, since in self._jobs:
            left = max(job.delay - (now - since), 0)
            queues.setdefault(queue, []).append(job._replace(delay=left))
        for queue, jobs in queues.items():
            # In one call: each further one would begin when those before it are done.
            self.pipeline.eval(*self.channel.queues.putting(queue, jobs, new_put()))
        self._buffered += len(queues)
        self._jobs = []
        super().flush()

    def discard(self) -> None:
        """Forget what was not sent."""
        self._jobs = []
        super().discard()
