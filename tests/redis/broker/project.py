"""The project that the tests of the Redis broker run in Celery workers, ours and stock ones: plain tasks, no jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import redis

from laraq_kombu import QueueCount
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.store import RedisQueues
from tests.support.project import Project

SOURCE = """
    import json, os, time
    from celery import Celery
    from laraq_redis.broker import register

    register()
    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.update(
        result_backend=os.environ["RESULTS"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options=json.loads(os.environ["OPTIONS"]),
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if "SSL" in os.environ:
        app.conf.broker_use_ssl = json.loads(os.environ["SSL"])

    def mark(**what):
        with open("marks", "a") as file:
            what.update(at=time.time(), pid=os.getpid(), scheme=app.conf.broker_url.partition(":")[0])
            file.write(json.dumps(what) + "\\n")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def total(numbers):
        return sum(numbers)

    @app.task(bind=True, ignore_result=True)
    def note(self, what, seconds=0):
        # A stock worker counts nothing.
        attempts = getattr(self.request, "attempts", None)
        mark(start=what, attempts=attempts, redelivered=self.request.delivery_info.get("redelivered"))
        until = time.time() + seconds
        while time.time() < until and not os.path.exists(f"{what}.is_enough"):
            time.sleep(min(0.1, seconds))
        mark(end=what)

    @app.task(bind=True, ignore_result=True)
    def die_once(self, what):
        mark(start=what, attempts=self.request.attempts)
        if self.request.attempts == 1:
            os.kill(os.getpid(), 9)
        mark(end=what)

    @app.task(bind=True, max_retries=2, ignore_result=True)
    def again(self):
        mark(start=self.request.retries, attempts=self.request.attempts)
        raise self.retry(countdown=0.3)

    @app.task(ignore_result=True)
    def publish(what, count):
        for n in range(count):
            note.delay(f"{what}.{n}")
"""

#: The same app, with laraq for its command line.
JOBS = """
    from laraq import Laraq
    from proj import app

    queue = Laraq(app)
"""


class RedisProject(Project):
    """A project whose broker is a Redis database; `stock` is the environment of a worker or producer without laraq."""

    def __init__(self, folder: Path, url: str, *, broker: str | None = None, **options: Any) -> None:
        self.url = url
        self.options = {"retry_after": 3, "poll": 30, **options}
        self.queues = RedisQueues(redis.Redis.from_url(url), BrokerKeys(options.get("global_keyprefix", "")), 3)
        env = {"BROKER": broker or f"laraq-{url}", "RESULTS": url, "OPTIONS": json.dumps(self.options)}
        super().__init__(folder, {"proj.py": SOURCE, "jobs.py": JOBS}, env=env)

    def stop_holding(self, what: str) -> None:
        """Let the job end that sleeps under that name."""
        (self.folder / f"{what}.is_enough").touch()

    def start_python(self, code: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        """A script that runs beside the test."""
        return subprocess.Popen(
            [sys.executable, "-c", dedent(code)], cwd=self.folder, env={**self._env, **env}, text=True
        )

    @property
    def stock(self) -> dict[str, str]:
        """What makes a process of the project use kombu's own transport."""
        return {"BROKER": self.url, "OPTIONS": "{}"}

    def marks(self, kind: str) -> list[Mapping[str, Any]]:
        """What `mark` wrote, of one kind: start or end."""
        path = self.folder / "marks"
        text = path.read_text() if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last may be in the middle of being written
        return [mark for mark in map(json.loads, lines) if kind in mark]

    def names(self, kind: str) -> list[Any]:
        """The marked names, in order."""
        return [mark[kind] for mark in self.marks(kind)]

    def count(self, queue: str = "celery") -> QueueCount:
        """Jobs in a queue."""
        return self.queues.count(queue)

    def python_on(self, env: Mapping[str, str], code: str) -> str:
        """Run a script as `python` does, in another environment."""
        done = subprocess.run(
            [sys.executable, "-c", dedent(code)],
            cwd=self.folder,
            env={**self._env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
