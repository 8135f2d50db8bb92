"""What a check costs: rate limits beside the library `limits`, unique dispatch beside celery-once and celery-singleton.

    pip install limits celery-once celery-singleton
    python benchmarks/locks_and_limits.py [--redis redis://localhost:6379/13] [--checks 2000] [--rounds 5]

All on one Redis, in one process, taking turns; the figures are medians of the rounds. A round trip is one write to the
server, whatever commands it holds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery
from redis.connection import AbstractConnection

from laraq import Job, Laraq
from laraq.ports import Demand

URL = os.environ.get("LARAQ_BENCH_REDIS", "redis://localhost:6379/13")

try:
    from celery_once import QueueOnce
    from celery_singleton import Singleton
    from limits import RateLimitItemPerHour
    from limits.storage import RedisStorage
    from limits.strategies import FixedWindowRateLimiter
except ImportError as error:
    sys.exit(f"This compares laraq with other packages, and {error.name} is missing:"
             " pip install limits celery-once celery-singleton")  # fmt: skip

app = Celery("limits_benchmark", broker=URL, backend=URL)
app.conf.update(
    task_ignore_result=True,
    ONCE={"backend": "celery_once.backends.Redis", "settings": {"url": URL, "default_timeout": 3600}},
    singleton_backend_url=URL,
)
laraq = Laraq(app, store=URL)


@app.task
def plain(n: int) -> None:
    """Nothing."""


@app.task(base=QueueOnce, once={"graceful": True})
def once(n: int) -> None:
    """Nothing, once."""


@app.task(base=Singleton)
def singleton(n: int) -> None:
    """Nothing, once."""


class Unique(Job):
    """Nothing, once."""

    n: int

    unique = True

    def unique_id(self) -> str:
        """The field."""
        return str(self.n)

    def handle(self) -> None:
        """Nothing."""


class Trips:
    """Counts writes to Redis."""

    count = 0

    def __init__(self) -> None:
        send = AbstractConnection.send_packed_command

        def counted(connection: Any, command: Any, check_health: bool = True) -> None:
            self.count += 1
            send(connection, command, check_health)

        AbstractConnection.send_packed_command = counted


def checks() -> dict[str, Callable[[], object]]:
    """What is compared, by name."""
    numbers = itertools.count()
    limiter = FixedWindowRateLimiter(RedisStorage(URL))
    items = [RateLimitItemPerHour(10**9, namespace=name) for name in "abc"]
    demands = [Demand(name, 10**9, 3600) for name in "abc"]
    store = laraq.store
    return {
        "limits: hit": lambda: limiter.hit(items[0], "user"),
        "laraq: take": lambda: store.limits.take(demands[:1]),
        "limits: hit three, one after the other": lambda: [limiter.hit(item, "user") for item in items],
        "laraq: take three, all or none": lambda: store.limits.take(demands),
        "laraq: acquire and release a lock": lambda: (
            store.locks.acquire("lock", "owner", 60),
            store.locks.release("lock", "owner"),
        ),
        "celery: plain dispatch": lambda: plain.delay(next(numbers)),
        "celery-once: dispatch": lambda: once.delay(next(numbers)),
        "celery-singleton: dispatch": lambda: singleton.delay(next(numbers)),
        "laraq: unique dispatch": lambda: Unique.dispatch(next(numbers)),
        "celery-once: dispatch that is skipped": lambda: once.delay(-1),
        "celery-singleton: dispatch that is skipped": lambda: singleton.delay(-1),
        "laraq: unique dispatch that is skipped": lambda: Unique.dispatch(-1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default=URL, help="a database that may be emptied; or LARAQ_BENCH_REDIS")
    parser.add_argument("--checks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.redis != URL:
        os.environ["LARAQ_BENCH_REDIS"] = options.redis
        os.execv(sys.executable, [sys.executable, *sys.argv])
    redis.Redis.from_url(URL).flushdb()
    trips, compared = Trips(), checks()
    times: dict[str, list[float]] = {name: [] for name in compared}
    per_check: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, check in compared.items():
            check()  # connected, and the scripts are known
            before, start = trips.count, time.perf_counter()
            for _ in range(options.checks):
                check()
            times[name].append((time.perf_counter() - start) / options.checks * 1e6)
            per_check[name] = (trips.count - before) / options.checks
    print(f"{'':44} {'round trips':>11} {'microseconds':>13}")
    for name in compared:
        print(f"{name:44} {per_check[name]:11.1f} {statistics.median(times[name]):13.0f}")


if __name__ == "__main__":
    main()
