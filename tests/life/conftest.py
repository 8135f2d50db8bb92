"""The stage of these tests: a user's project with jobs, real workers on Redis and RabbitMQ, a record of what ran."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from laraq.messages.failure import FailedJob
from laraq_redis.store.store import RedisStore
from tests.support.project import Project
from tests.support.waiting import wait_until

#: What every project here begins with: an app, and `note`, which survives whatever happens next.
PREAMBLE = """
import json, os, signal, time
import redis
from celery import Celery
from laraq import Backoff, Events, Job, Laraq, LaraqTask, Queue, current_job, events, job

app = Celery("proj", broker=os.environ["BROKER"], broker_connection_retry_on_startup=True)
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["STORE"])

def note(what, **facts):
    record.rpush("record", json.dumps({"what": what, "pid": os.getpid(), "time": time.time(), **facts}))
"""


class Stage:
    """A project, and what its processes noted."""

    def __init__(self, folder: Path, broker_url: str, store_url: str, queue_name: str) -> None:
        self._folder = folder
        self.broker_url = broker_url
        self.store_url = store_url
        self._env = {"BROKER": broker_url, "STORE": store_url}
        self.record = redis.Redis.from_url(store_url)
        self.store = RedisStore.from_url(store_url)

    def project(self, source: str, **files: str) -> Project:
        """`proj.py` with the preamble and these jobs, and more files."""
        from textwrap import dedent

        return Project(self._folder, {"proj.py": PREAMBLE + dedent(source), **files}, env=self._env)

    def noted(self, what: str | None = None, **facts: Any) -> list[dict[str, Any]]:
        """What was noted, in the order of its arrival."""
        notes = [json.loads(line) for line in self.record.lrange("record", 0, -1)]
        return [
            entry
            for entry in notes
            if what in (None, entry["what"]) and all(entry.get(name) == value for name, value in facts.items())
        ]

    def wait_for(self, what: str, times: int = 1, timeout: float = 30, **facts: Any) -> list[dict[str, Any]]:
        """Wait until something was noted that often."""
        return wait_until(
            lambda: notes if len(notes := self.noted(what, **facts)) >= times else None,
            timeout,
            f"{what!r} {facts} was noted {times} times; noted: {Counter(entry['what'] for entry in self.noted())}",
        )

    def failed(self) -> list[FailedJob]:
        """The failed jobs in the store."""
        return list(self.store.failed.all())

    def wait_for_failed(self, count: int = 1, timeout: float = 30) -> list[FailedJob]:
        """Wait until so many jobs are in the failed store."""
        return wait_until(
            lambda: failed if len(failed := self.failed()) >= count else None, timeout, f"{count} jobs have failed"
        )

    def close(self) -> None:
        self.record.close()
        self.store.close()


@pytest.fixture
def stage(tmp_path: Path, broker_url: str, redis_url: str, queue_name: str) -> Any:
    """On each broker in turn; the store is Redis."""
    stage = Stage(tmp_path, broker_url, redis_url, queue_name)
    yield stage
    stage.close()


@pytest.fixture
def redis_stage(tmp_path: Path, redis_url: str, queue_name: str) -> Any:
    """On Redis alone, for what the broker has no part in."""
    stage = Stage(tmp_path, redis_url, redis_url, queue_name)
    yield stage
    stage.close()
