"""The Redis broker's store passes the suites of the transport core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from laraq.testing.suite.transport import RETRY_AFTER, OpenStore, QueuesSuite, ReservationsSuite
from laraq_redis.broker.keys import Keys
from laraq_redis.broker.store import RedisQueues


class TestRedis(ReservationsSuite, QueuesSuite):
    @pytest.fixture
    def open_store(self, redis_url: str) -> Iterator[OpenStore]:
        opened = []

        def open_one() -> RedisQueues:
            opened.append(RedisQueues(redis.Redis.from_url(redis_url), Keys(), RETRY_AFTER))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()
