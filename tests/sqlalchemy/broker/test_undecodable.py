"""Rows that hold no message: with laraq attached they end in the failed store, without it in a queue of their own."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from laraq_kombu import Posting
from laraq_sqlalchemy.broker.store import open_store
from laraq_sqlalchemy.store.store import SqlStore
from tests.sqlalchemy.broker.celery_app import DatabaseProject, rows
from tests.support.project import Project
from tests.support.waiting import wait_until

ROWS = ["{", "[]", '{"headers": {}}', '{"properties": {"delivery_info": {}}, "headers": []}']

JOBS = """
    import os
    from celery import Celery
    from laraq import Job, Laraq

    options = {"retry_after": 3, "poll": 1}
    app = Celery("proj", broker="laraq-db+" + os.environ["DATABASE"], broker_transport_options=options)
    queue = Laraq(app, store=os.environ["DATABASE"])

    class Note(Job):
        what: str

        def handle(self):
            open(self.what, "w").close()
"""


def put(database: str, *payloads: str) -> None:
    """Rows that somebody else wrote."""
    store = open_store(database, {})
    store.put([Posting("celery", payload) for payload in payloads])
    store.close()


@pytest.mark.parametrize(
    ("database", "pool"),
    [("sqlite", "prefork"), ("postgres", "prefork"), ("mariadb", "prefork"), ("sqlite", "solo")],
)
def test_a_worker_with_laraq_keeps_them_as_failed_jobs_with_their_bytes(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, pool: str
) -> None:
    sql_url: str = request.getfixturevalue(f"{database}_url")
    project = Project(tmp_path, {"proj.py": JOBS}, env={"DATABASE": sql_url})
    project.python("import proj; proj.queue.migrate()")
    put(sql_url, *ROWS)
    with project.worker(pool=pool):
        project.python("import proj; proj.Note.dispatch('after')")
        wait_until((tmp_path / "after").exists, timeout=20)
        store = SqlStore.from_url(sql_url)
        wait_until(lambda: len(store.failed.all()) == len(ROWS), timeout=20)
        failed = store.failed.all()
        store.close()
        broker = open_store(sql_url, {})
        wait_until(lambda: broker.count("celery").total == 0)
        assert broker.count("laraq.undecodable").total == 0
        broker.close()
    assert {base64.b64decode(record.payload["raw"]).decode() for record in failed} == set(ROWS)
    assert {(record.job, record.queue, record.attempts) for record in failed} == {("laraq.undecodable", "celery", 1)}
    assert all("PayloadError" in record.exception for record in failed)


def test_a_worker_without_laraq_puts_them_aside_and_goes_on(tmp_path: Path, sqlite_url: str) -> None:
    project = DatabaseProject(tmp_path, sqlite_url)
    with project.worker():
        put(sqlite_url, *ROWS)
        # What the driver would refuse to read as text, and what it would not take for text.
        rows(
            sqlite_url,
            "INSERT INTO laraq_jobs (queue, payload, available_at, created_at)"
            " SELECT 'celery', column1, 1, 1 FROM (VALUES (CAST(x'ff7b' AS TEXT)), (x'00ff'))",
        )
        project.python("import proj; proj.note.delay('after')")
        wait_until(lambda: project.names("end") == ["after"], timeout=15)
        wait_until(lambda: project.count().total == 0)
        assert project.count("laraq.undecodable").pending == len(ROWS) + 2
