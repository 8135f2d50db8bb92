"""Processes are killed, frozen and cut off: no job is lost, none runs twice while its worker lives."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from laraq_sqlalchemy.broker.store import open_store
from tests.sqlalchemy.broker.celery_app import DatabaseProject, pid_is_alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> DatabaseProject:
    return DatabaseProject(tmp_path, sqlite_url)


def test_a_cut_connection_does_not_repeat_the_running_job(tmp_path: Path, postgres_url: str) -> None:
    project = DatabaseProject(tmp_path, postgres_url)
    with project.worker() as worker:
        project.python("import proj; proj.note.delay('long', 6)")
        wait_until(lambda: project.names("start"), timeout=15)
        engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            connection.execute(text(f"{cut} AND pid <> pg_backend_pid()"))
        engine.dispose()
        wait_until(lambda: project.names("end"), timeout=25)
        wait_until(lambda: project.count().total == 0)
        project.python("import proj; proj.note.delay('after')")
        wait_until(lambda: "after" in project.names("end"), timeout=25)
        assert "EMERGENCY" not in worker.log
    assert project.names("start") == ["long", "after"]


def test_the_queue_of_a_killed_workers_mailbox_does_not_stay(project: DatabaseProject) -> None:
    with project.worker() as worker:
        worker.kill()
        assert not pid_is_alive(worker.pid)
    store = open_store(project.database, project.options)
    store.connect()
    (route,) = store.routes("celery.pidbox")
    store.renew([route.queue], 0)  # instead of waiting for half a minute
    assert store.routes("celery.pidbox") == []
    with project.worker():
        wait_until(lambda: store.count(route.queue).total == 0)
    store.close()
