"""The database server goes away and comes back: what was accepted is done, and what ran meanwhile ran once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sqlalchemy.broker.celery_app import DatabaseProject
from tests.sqlalchemy.broker.private_servers import PrivateMariaDb, PrivatePostgres, PrivateServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.fault, pytest.mark.serial]

#: Seconds without a server, and crashes under load: a few in every run, more by hand.
OUTAGE = float(os.environ.get("LARAQ_OUTAGE_SECONDS", "4"))
CRASHES = int(os.environ.get("LARAQ_CRASH_ROUNDS", "1"))

#: Sends jobs until the file `enough` is there; `sent` are those the broker accepted, the others are sent again.
PRODUCER = """
    import os, time
    import proj
    from kombu.exceptions import OperationalError

    n = 0
    while not os.path.exists("enough"):
        try:
            proj.note.delay(n)
        except OperationalError:
            proj.mark(refused=n)
            time.sleep(0.05)
        else:
            proj.mark(sent=n)
            n += 1
            time.sleep(0.005)
"""


@pytest.fixture(params=[PrivatePostgres, PrivateMariaDb], ids=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    with request.param() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, server: PrivateServer) -> DatabaseProject:
    poll = {"poll": None} if isinstance(server, PrivateMariaDb) else {}
    return DatabaseProject(tmp_path, server.url, **poll)


@contextmanager
def producing(project: DatabaseProject) -> Iterator[None]:
    """A producer runs beside the block, and has sent its last job after it."""
    with project.start_python(PRODUCER) as producer:
        try:
            yield
            (project.folder / "enough").touch()
            assert producer.wait(20) == 0
        finally:
            producer.kill()


@pytest.mark.timeout(120 + 2 * OUTAGE)
@pytest.mark.parametrize("server", [PrivatePostgres], indirect=True, ids=["postgres"])
def test_a_server_that_is_away_is_waited_for(project: DatabaseProject, server: PrivateServer) -> None:
    """For longer than a lease lasts: the job that runs meanwhile is not started again."""
    with project.worker(concurrency=2, args=["--prefetch-multiplier", "4"]) as worker:
        project.python(f"import proj; proj.note.delay('long', {OUTAGE + 4})")
        wait_until(lambda: project.names("start") == ["long"], timeout=15)
        with producing(project):
            wait_until(lambda: len(project.names("end")) > 20, timeout=20)
            server.stop()
            wait_until(lambda: project.names("refused"), timeout=20)
            time.sleep(OUTAGE)
            before = set(project.names("end"))
            server.start()
            wait_until(lambda: len(set(project.names("end")) - before) > 50, timeout=60)
        wait_until(lambda: set(project.names("sent")) < set(project.names("end")), timeout=30)
        wait_until(lambda: project.count().total == 0)
        assert "EMERGENCY" not in worker.log
    assert project.names("start").count("long") == 1


@pytest.mark.timeout(120 + 20 * CRASHES)
def test_a_server_that_crashes_under_load_loses_nothing(project: DatabaseProject, server: PrivateServer) -> None:
    """Though workers do not wait for the disk: what a crash takes back are reservations and acknowledgements."""
    with project.worker(concurrency=2, args=["--prefetch-multiplier", "4"]):
        with producing(project):
            for _ in range(CRASHES):
                before = set(project.names("end"))
                wait_until(lambda before=before: len(set(project.names("end")) - before) > 50, timeout=60)  # type: ignore[misc]  # a default binds the loop's value
                server.crash()
                server.start()
        wait_until(lambda: set(project.names("sent")) <= set(project.names("end")), timeout=60)
        wait_until(lambda: project.count().total == 0)
    sent, ended = len(project.names("sent")), len(project.names("end"))
    print(f"{CRASHES} crashes, {sent} sent, {ended - sent} repeated, {len(project.names('refused'))} refused")
