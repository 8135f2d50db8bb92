"""LeaseQoS: the core's deliveries as kombu's Redis channel wants them."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from laraq_kombu import Deliveries

if TYPE_CHECKING:
    from laraq_redis.broker.channel import Channel

logger = logging.getLogger(__name__)


class LeaseQoS(Deliveries, kombu_redis.QoS):  # type: ignore[misc]  # kombu's restore_unacked takes a client
    """Of kombu's only `restore_visible` is left: it puts back what stock workers on the same queues left unacked."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._vrestore_count = 0

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Where Redis refuses, on a full server, the jobs of our own workers can still be drained."""
        try:
            super().restore_visible(*args, **kwargs)
        except ResponseError as error:
            logger.warning("What stock workers left unacknowledged is not looked for at the moment: %s", error)
