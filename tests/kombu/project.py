"""The project that the tests of our brokers run in Celery workers: plain tasks, no jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from laraq_kombu import QueueCount
from tests.support.project import Project

SOURCE = """
    import importlib, json, os, time
    from celery import Celery

    importlib.import_module(os.environ["PACKAGE"]).register()
    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.update(
        result_backend=os.environ["RESULTS"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options=json.loads(os.environ["OPTIONS"]),
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        result_expires=None,
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


class BrokerProject(Project, ABC):
    """A project on a broker of ours."""

    #: Its name as workers tell it.
    driver = ""
    #: Whether a message that names no priority comes before those that do.
    unnamed_first = False
    #: Seconds after its time at which a job may start.
    late = 0.6

    def __init__(
        self, folder: Path, package: str, broker: str, results: str, options: Mapping[str, Any], **files: str
    ) -> None:
        self.options = {"retry_after": 3, "poll": 30, **options}
        env = {"PACKAGE": package, "BROKER": broker, "RESULTS": results, "OPTIONS": json.dumps(self.options)}
        super().__init__(folder, {"proj.py": SOURCE, **{f"{name}.py": code for name, code in files.items()}}, env=env)

    @abstractmethod
    def count(self, queue: str = "celery") -> QueueCount:
        """Jobs in a queue."""

    def stop_holding(self, what: str) -> None:
        """Let the job end that sleeps under that name."""
        (self.folder / f"{what}.is_enough").touch()

    def start_python(self, code: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A script that runs beside the test."""
        command = [sys.executable, "-c", dedent(code)]
        return subprocess.Popen(command, cwd=self.folder, env={**self._env, **(env or {})}, text=True)

    def marks(self, kind: str) -> list[Mapping[str, Any]]:
        """What `mark` wrote, of one kind: start or end."""
        path = self.folder / "marks"
        text = path.read_text() if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last may be in the middle of being written
        return [mark for mark in map(json.loads, lines) if kind in mark]

    def names(self, kind: str) -> list[Any]:
        """The marked names, in order."""
        return [mark[kind] for mark in self.marks(kind)]
