"""Middleware on a real worker, where a release is a message."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.serial

PROJECT = """
import os
import redis
from celery import Celery
from laraq import Job, Laraq
from laraq.middleware import WithoutOverlapping

app = Celery("proj", broker=os.environ["STORE"], broker_connection_retry_on_startup=True)
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["STORE"])

class Waits(Job):
    tries = 2

    def middleware(self):
        return [self.look, WithoutOverlapping("k").shared().release_after(0.2).dont_count()]

    def look(self, job, next):
        record.rpush("looked", self.attempts)
        return next(job)

    def handle(self):
        record.rpush("ran", self.attempts)
        if self.attempts == 1:
            queue.store.locks.force_release("overlap:k")
            queue.store.locks.acquire("overlap:k", "somebody else", 60)
            raise ValueError("once")
"""


def test_waiting_without_counting_keeps_the_job_and_its_tries(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"proj.py": PROJECT}, env={"STORE": redis_url})
    with redis.Redis.from_url(redis_url) as record, project.worker():
        project.python("import proj; proj.queue.store.locks.acquire('overlap:k', 'x', 60); proj.Waits.dispatch()")
        wait_until(lambda: record.lrange("looked", 0, -1)[:3] == [b"1"] * 3)
        project.python("import proj; proj.queue.store.locks.force_release('overlap:k')")
        wait_until(lambda: record.lrange("looked", 0, -1).count(b"2") >= 3)
        project.python("import proj; proj.queue.store.locks.force_release('overlap:k')")
        wait_until(lambda: record.lrange("ran", 0, -1) == [b"1", b"2"])
