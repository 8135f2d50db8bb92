"""The stage of the must-hold tests: eight processes of two workers, on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from laraq.app import store_at
from laraq.ports import Store
from tests.support.project import Project
from tests.support.worker import READY, START_PATIENCE, WorkerProcess

#: Beginning of every project: the broker is the store's own, and what happens is noted in Redis.
PREAMBLE = """
import os, time
import redis
from celery import Celery, signals
from laraq import Bus, Job, Laraq
from laraq.limits.limits import Limit, RateLimiter
from laraq.middleware import RateLimited, WithoutOverlapping

app = Celery("proj", broker=os.environ["BROKER"], broker_connection_retry_on_startup=True)
app.conf.worker_prefetch_multiplier = 1
# What a killed worker held comes back after 4 s at the latest; no job here runs that long.
app.conf.broker_transport_options = {"retry_after": 4} if os.environ["BROKER"].startswith("laraq-db") else {}
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["RECORD"])

@signals.worker_process_init.connect
def connect(**_):
    record.ping()
"""

WORKERS, CHILDREN = 2, 4
STORES = ("redis", "postgres", "sqlite")


class Stage:
    """A project on one store."""

    def __init__(self, folder: Path, broker: str, store_url: str, record_url: str) -> None:
        self._folder = folder
        self._env = {"BROKER": broker, "STORE": store_url, "RECORD": record_url}
        self.record = redis.Redis.from_url(record_url, decode_responses=True)
        self.store: Store = store_at(store_url)
        self.store.migrate()

    def project(self, source: str) -> Project:
        project = Project(self._folder, {"proj.py": PREAMBLE + source}, env=self._env)
        project.python("import proj; proj.queue.migrate()")
        return project

    def close(self) -> None:
        self.record.close()
        self.store.close()


@contextmanager
def stage_on(request: pytest.FixtureRequest, kind: str) -> Iterator[Stage]:
    """Redis has RabbitMQ as its broker: kombu's Redis transport loses messages of workers that are killed."""
    folder: Path = request.getfixturevalue("tmp_path")
    store = request.getfixturevalue(f"{kind}_url")
    broker = request.getfixturevalue("amqp_url") if kind == "redis" else f"laraq-db+{store}"
    stage = Stage(folder, broker, store, request.getfixturevalue("redis_url"))
    try:
        yield stage
    finally:
        stage.close()


def start(project: Project, stack: ExitStack) -> WorkerProcess:
    """A worker that is about to start."""
    return stack.enter_context(project.worker(concurrency=CHILDREN, await_ready=False))


def start_both(project: Project, stack: ExitStack) -> list[WorkerProcess]:
    """Two workers that are ready; to start one after the other would take twice as long."""
    workers = [start(project, stack) for _ in range(WORKERS)]
    for worker in workers:
        worker.wait_for_log(READY, START_PATIENCE)
    return workers


def is_ready(worker: WorkerProcess) -> bool:
    """Whether it consumes."""
    return any(READY.search(line) for line in worker.log.splitlines())
