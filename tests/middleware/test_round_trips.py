"""What a run costs on the wire because of its middleware."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from laraq.limits.limits import Limit, RateLimiter
from laraq.middleware import RateLimited, ThrottlesExceptions, WithoutOverlapping
from laraq_redis import RedisStore
from tests.middleware.conftest import attached, delivered
from tests.middleware.works import raises, returns, work
from tests.support.round_trips import RoundTrips

YEAR = 365 * 86400.0
FAILS = raises(ValueError())


@pytest.mark.parametrize(
    ("middleware", "body", "check", "end"),
    [
        (RateLimited("wide"), returns, 1, 0),
        (RateLimited("three limits"), returns, 1, 0),
        (RateLimited("closed"), returns, 1, 0),
        (WithoutOverlapping("free"), returns, 1, 1),
        (WithoutOverlapping("held").shared(), returns, 1, 0),
        (RateLimited("wide").park(), returns, 2, 0),  # whether others wait, too
        (WithoutOverlapping("free").park(), returns, 1, 1),
        (WithoutOverlapping("held").shared().park(), returns, 1, 0),
        (ThrottlesExceptions(9, 5), returns, 1, 1),
        (ThrottlesExceptions(99, 5), FAILS, 1, 1),
        (ThrottlesExceptions(0, 5).by("down"), FAILS, 1, 0),
    ],
)
def test_one_before_the_run_and_at_most_one_after(
    redis_url: str, middleware: Any, body: Any, check: int, end: int
) -> None:
    RateLimiter.for_("wide", lambda job: Limit(1000, YEAR))
    RateLimiter.for_("three limits", lambda job: [Limit(1000, YEAR).by(key) for key in "abc"])
    RateLimiter.for_("closed", lambda job: Limit(0, YEAR))
    cls = work(middleware, body=body)
    with RoundTrips(redis_url, 6379) as trips, closing(RedisStore.from_url(trips.url)) as store:
        store.locks.acquire("overlap:held", "another", 600)
        store.cache.increment("throttles_exceptions:down", 1, 600)
        with attached(store) as queue:
            delivered(queue, cls)  # connected, and the scripts are known
            before = trips.count
            for _ in range(10):
                delivered(queue, cls)
            assert trips.count - before == 10 * (check + end)
