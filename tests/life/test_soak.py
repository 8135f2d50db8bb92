"""A long run of jobs of every kind: memory stays flat, and no key or row is left of a job that is over.

LARAQ_SOAK_JOBS makes it as long as one likes; 200,000 take a quarter of an hour on each broker.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import create_engine, inspect, text

from laraq_kombu.once import SLOTS
from tests.support.project import Project
from tests.support.waiting import wait_until

JOBS = int(os.environ.get("LARAQ_SOAK_JOBS", "1200"))

#: Jobs sent at a time; the sender waits while more than three times as many are waiting.
ROUND = 200

pytestmark = [pytest.mark.serial, pytest.mark.timeout(60 + JOBS // 20)]

SOAK = """
import os, time
import redis
from celery import Celery
from laraq import Bus, Job, Laraq, Limit, RateLimited, RateLimiter, WithoutOverlapping

app = Celery("proj", broker=os.environ["BROKER"], broker_connection_retry_on_startup=True)
app.conf.worker_prefetch_multiplier = 4
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["RECORD"])
RateLimiter.for_("soak")(lambda job: Limit.per_second(100_000))

class Counts(Job):
    n: int
    tries = 3
    def handle(self):
        done()

def done():
    record.incr("done")

class Flaky(Counts):
    def handle(self):
        if self.attempts < 2:
            raise ValueError("once more")
        done()

class Released(Counts):
    def handle(self):
        if self.attempts < 2:
            return self.release()
        done()

class Fails(Counts):
    tries = 1
    def handle(self):
        done()
        raise ValueError("always")

class Only(Counts):
    unique = True
    def unique_id(self):
        return str(self.n)

class Alone(Counts):
    tries = 0
    def middleware(self):
        return [WithoutOverlapping(str(self.n % 50)).dont_count()]

class Limited(Counts):
    tries = 0
    def middleware(self):
        return [RateLimited("soak").dont_count()]

class Later(Counts):
    countdown = 0.2

#: How many `done` each of these makes.
def send(first, count):
    single = [Counts, Counts, Counts, Counts, Flaky, Released, Only, Alone, Limited, Later]
    jobs = [single[n % len(single)](n) for n in range(first, first + count - 20)]
    Bus.bulk(jobs)
    Bus.chain([Counts(1), Counts(2), Flaky(3), Counts(4), Counts(5)]).dispatch()
    Bus.batch([Counts(n) for n in range(14)]).dispatch()
    Fails.dispatch(0)
"""

SENDER = """
import sys, time
from proj import *
total, size = map(int, sys.argv[1:])
for first in range(0, total, size):
    send(first, size)
    while int(record.get("done") or 0) < first - 3 * size:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("broker", ["laraq-redis", "sqlite"])
def test_memory_stays_flat_and_nothing_is_left_of_jobs_that_are_over(
    tmp_path: Path, redis_url: str, sqlite_url: str, broker: str
) -> None:
    sql, record = broker == "sqlite", redis.Redis.from_url(redis_url)
    urls = {"BROKER": f"laraq-db+{sqlite_url}" if sql else f"laraq-{redis_url}", "RECORD": redis_url}
    project = Project(tmp_path, {"proj.py": SOAK}, {**urls, "STORE": sqlite_url if sql else redis_url})
    rounds = max(JOBS // ROUND, 6)

    def run(rounds: int) -> None:
        record.set("done", 0)
        project.run([sys.executable, "-c", SENDER, str(rounds * ROUND), str(ROUND)], timeout=120 + rounds * ROUND // 20)
        wait_until(lambda: int(record.get("done")) >= rounds * ROUND, 60, "all jobs are done")

    with project.worker(concurrency=2) as worker:
        processes = [psutil.Process(pid) for pid in (worker.pid, *worker.child_pids()[-2:])]
        began = time.monotonic()
        run(rounds // 3)
        before = [process.memory_info().rss / 2**20 for process in processes]
        run(rounds - rounds // 3)
        after = [process.memory_info().rss / 2**20 for process in processes]
        seconds = time.monotonic() - began
        assert worker.terminate() == 0
    left = rows(sqlite_url) if sql else elements(record)
    memory = ", ".join(f"{old:.0f} -> {new:.0f}" for old, new in zip(before, after, strict=True))
    print(f"{broker}: {rounds * ROUND} jobs in {seconds:.0f} s; MiB of parent and children: {memory}; left: {left}")
    spare = 4 if JOBS >= 20_000 else 16  # a short run is not warm after a third of it
    assert all(new < old * 1.05 + spare for old, new in zip(before, after, strict=True))
    assert left.pop("laraq_puts", 0) <= (1 + 1 + 2) * SLOTS, "of two senders and two children"
    assert {name: count for name, count in left.items() if not name.endswith(KEPT) and count > 50} == {}


#: What is kept of a job for its time: its failed record, its batch, and that a start but the first was made.
KEPT = (
    "failed", "failed:moments", "failed_jobs", "claims", "claim:ID", "claimed",
    "batches", "batch_jobs", "batch:ID", "batch-jobs:ID",
)  # fmt: skip


def rows(url: str) -> dict[str, int]:
    """How many rows each table has."""
    engine = create_engine(url)
    with engine.connect() as connection:
        counts = {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in inspect(engine).get_table_names()
        }
    engine.dispose()
    return {name: count for name, count in counts.items() if count}


def elements(server: redis.Redis) -> dict[str, int]:
    """How many keys there are of each kind, and how long the long ones are; ids of jobs and batches are left out."""
    found: Counter[str] = Counter()
    lengths = {b"hash": server.hlen, b"zset": server.zcard, b"set": server.scard, b"list": server.llen}
    for key in server.scan_iter(count=1000):
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}.*", "ID", key.decode())
        length = lengths.get(server.type(key))
        found[name] += length(key) if length and "ID" not in name else 1
    return dict(found)
