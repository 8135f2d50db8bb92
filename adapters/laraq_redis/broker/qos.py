"""RedisDeliveries: a channel's deliveries, and those of stock workers on the same queues."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from laraq_kombu.deliveries import Deliveries, Settling

logger = logging.getLogger(__name__)


class RedisDeliveries(Deliveries, kombu_redis.QoS):  # type: ignore[misc]  # kombu's restore_unacked takes a client
    """Of kombu's only `restore_visible` is left: it puts back what stock workers on the same queues left unacked."""

    def __init__(self, channel: Settling, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._vrestore_count = 0

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Where Redis refuses, on a full server, the jobs of our own workers can still be drained."""
        try:
            super().restore_visible(*args, **kwargs)
        except ResponseError as error:
            logger.warning("What stock workers left unacknowledged is not looked for at the moment: %s", error)
