"""Parking on real workers: how many messages it takes, and what of a message survives it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.middleware.must_hold import start_both
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.serial

PROJECT = """
import os
import redis
from celery import Celery, chord, signals
from laraq import Bus, Job, Laraq
from laraq.middleware import WithoutOverlapping

app = Celery("proj", broker=os.environ["STORE"], backend=os.environ["STORE"], broker_connection_retry_on_startup=True)
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["STORE"])
locks = queue.store.locks

@signals.after_task_publish.connect
def count(sender=None, **_):
    record.incr("published")

class OneByOne(Job):
    n: int

    def middleware(self):
        return [WithoutOverlapping("k").shared().park()]

    def handle(self):
        if record.incr("inside") > 1:
            record.incr("met")
        record.rpush("ran", self.n)
        record.decr("inside")
        return self.n

@app.task
def note(*args):
    record.rpush("noted", repr(args))
"""


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    return Project(tmp_path, {"proj.py": PROJECT}, env={"STORE": redis_url})


@pytest.fixture
def record(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


def test_a_thousand_jobs_behind_one_lock_take_two_messages_each(project: Project, record: redis.Redis) -> None:
    jobs = 1000
    project.python(f"import proj; [proj.OneByOne.dispatch(n) for n in range({jobs})]")
    assert int(record.get("published") or 0) == jobs
    with ExitStack() as stack:
        start_both(project, stack)
        wait_until(lambda: record.llen("ran") >= jobs, 90, f"{jobs} jobs ran")
    assert Counter(record.lrange("ran", 0, -1)) == Counter(str(n) for n in range(jobs))
    assert record.get("met") is None
    # A worker that looks for idle locks may call one in vain now and then.
    assert int(record.get("published") or 0) <= 2 * jobs + 20


def test_they_run_in_the_order_they_were_parked(project: Project, record: redis.Redis) -> None:
    project.python(
        "import proj; proj.locks.acquire('overlap:k', 'holder', 60); [proj.OneByOne.dispatch(n) for n in range(30)]"
    )
    with project.worker():  # one process, so that they are parked in their order
        wait_until(lambda: record.hlen(_jobs_in_line(record)) == 30, 20, "all are parked")
        project.python("import proj; proj.locks.release('overlap:k', 'holder')")
        wait_until(lambda: record.llen("ran") == 30, 20, "all ran")
    assert record.lrange("ran", 0, -1) == [str(n) for n in range(30)]


def test_a_message_is_itself_again_with_its_links_and_its_chord(project: Project, record: redis.Redis) -> None:
    project.python("import proj; proj.locks.acquire('overlap:k', 'holder', 60)")
    with project.worker(concurrency=2):
        project.python("""
            import proj
            proj.OneByOne.apply_async((7,), link=proj.note.s("linked"), headers={"mine": "kept"}, priority=3)
            proj.chord([proj.OneByOne.s(1), proj.OneByOne.s(2)])(proj.note.s("chord"))
            (proj.OneByOne.si(4) | proj.note.s("chain")).apply_async()
        """)
        wait_until(lambda: record.hlen(_jobs_in_line(record)) == 4, 20, "all are parked")
        project.python("import proj; proj.locks.release('overlap:k', 'holder')")
        wait_until(lambda: record.llen("noted") == 3, 20, "links, chord and chain went on")
    assert sorted(record.lrange("noted", 0, -1)) == ["(4, 'chain')", "(7, 'linked')", "([1, 2], 'chord')"]


@pytest.mark.fault
def test_a_worker_that_starts_sends_what_others_left_in_the_line(project: Project, record: redis.Redis) -> None:
    project.python("import proj; proj.locks.acquire('overlap:k', 'holder', 60); proj.OneByOne.dispatch(1)")
    with project.worker() as worker:
        wait_until(lambda: record.hlen(_jobs_in_line(record)) == 1, 20, "it is parked")
        worker.kill()
    project.python("import proj; proj.locks.release('overlap:k', 'holder')")
    with project.worker():
        wait_until(lambda: record.lrange("ran", 0, -1) == ["1"], 20, "it ran")


def _jobs_in_line(record: redis.Redis) -> str:
    return next(iter(record.keys("{laraq}:parked:jobs:*")), "none")
