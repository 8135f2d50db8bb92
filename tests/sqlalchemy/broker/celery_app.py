"""The project that the tests of the database broker run in a stock Celery worker: plain tasks, no laraq jobs."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from laraq_kombu import QueueCount
from laraq_sqlalchemy.broker.store import open_store
from tests.support.project import Project

SOURCE = """
    import json, os, time
    from celery import Celery
    from laraq_sqlalchemy.broker import register

    register()
    app = Celery("proj", broker="laraq-db+" + os.environ["DATABASE"])
    app.conf.update(
        result_backend="db+" + os.environ["DATABASE"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options=json.loads(os.environ["OPTIONS"]),
        broker_connection_retry_on_startup=True,
        result_expires=None,
    )

    def mark(**what):
        with open("marks", "a") as file:
            file.write(json.dumps({**what, "at": time.time(), "pid": os.getpid()}) + "\\n")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def total(numbers):
        return sum(numbers)

    @app.task(bind=True, ignore_result=True)
    def note(self, what, seconds=0):
        mark(start=what, attempts=self.request.attempts, redelivered=self.request.delivery_info["redelivered"])
        time.sleep(seconds)
        mark(end=what)

    @app.task(bind=True, ignore_result=True)
    def die_once(self, what):
        mark(start=what, attempts=self.request.attempts)
        if self.request.attempts == 1:
            os.kill(os.getpid(), 9)
        mark(end=what)

    @app.task(ignore_result=True)
    def publish(what, count):
        for n in range(count):
            note.delay(f"{what}.{n}")
"""


class BrokerProject(Project):
    """A project whose broker and result backend are one database."""

    def __init__(self, folder: Path, database: str, **options: Any) -> None:
        self.database = database
        self.options = {"retry_after": 3, "create_tables": True, "poll": 30, **options}
        env = {"DATABASE": database, "OPTIONS": json.dumps(self.options)}
        super().__init__(folder, {"proj.py": SOURCE}, env=env)

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
        store = open_store(self.database, self.options)
        try:
            store.connect()
            return store.count(queue)
        finally:
            store.close()

    def start_python(self, code: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A script that runs beside the test."""
        command = [sys.executable, "-c", dedent(code)]
        return subprocess.Popen(command, cwd=self.folder, env={**self._env, **(env or {})}, text=True)


def rows(database: str, sql: str) -> list[tuple[Any, ...]]:
    """What a SQLite broker holds, read directly."""
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def pid_is_alive(pid: int) -> bool:
    """Whether the process exists."""
    return os.path.exists(f"/proc/{pid}")
