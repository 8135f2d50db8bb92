"""The broker connection of a worker that lives on is cut: what has begun is not begun again, on laraq's own brokers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.life.conftest import Stage
from tests.support.cutting import cut_connections
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

#: Jobs of each kind, and cuts while they run.
JOBS = int(os.environ.get("LARAQ_CUT_JOBS", "60"))
CUTS = int(os.environ.get("LARAQ_CUTS", "3"))

SOURCE = """
from laraq import Bus
from laraq_celery.worker import outcomes

# Batches are told late, so that many jobs have ended and are not acknowledged.
outcomes.LINGER = outcomes.LONGEST_LINGER = 0.3
app.conf.worker_prefetch_multiplier = 16
app.conf.worker_cancel_long_running_tasks_on_connection_loss = False
app.conf.broker_transport_options = {"retry_after": 3, "create_tables": True, "poll": 1}

def note(what, **facts):  # in a file: the connection to the record may be cut as well
    with open("notes", "a") as file:
        file.write(json.dumps({"what": what, **facts}) + "\\n")

class Member(Job):
    n: int
    tries = 1
    def handle(self):
        note("run", kind="member", n=self.n, attempt=self.attempts)
        time.sleep(0.005)

class Long(Job):
    tries = 5
    def handle(self):
        note("long", attempt=self.attempts)
        if self.attempts == 1:
            time.sleep(60)

class Plain(Job):
    n: int
    tries = 1
    def handle(self):
        note("run", kind="plain", n=self.n, attempt=self.attempts)
        time.sleep(0.005)

@app.task(bind=True, acks_late=True, ignore_result=True)
def ordinary(self, n):
    note("run", kind="ordinary", n=n, redelivered=self.request.delivery_info["redelivered"])
    time.sleep(0.005)

def finally_(batch): note("finally", done=batch.processed_jobs, total=batch.total_jobs, failed=batch.failed_jobs)

def send(count, batch):
    for n in range(count):
        Plain.dispatch(n)
        ordinary.delay(n)
    if batch:
        Bus.batch(Member(n) for n in range(count)).finally_(finally_).dispatch()
"""


@pytest.fixture
def own_stage(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, queue_name: str) -> Any:
    kind = request.param
    url = request.getfixturevalue(f"{kind}_url")
    stage = Stage(tmp_path, f"laraq-{url}" if kind == "redis" else f"laraq-db+{url}", redis_url, queue_name)
    yield stage
    stage.close()


def noted(project: Project, what: str) -> list[dict[str, Any]]:
    path = project.folder / "notes"
    text = path.read_text() if path.exists() else ""
    notes = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [entry for entry in notes if entry["what"] == what]


def runs(project: Project) -> Counter[tuple[str, int]]:
    return Counter((entry["kind"], entry["n"]) for entry in noted(project, "run"))


@pytest.mark.parametrize(
    ("own_stage", "pool"),
    [("redis", "prefork"), ("postgres", "prefork"), ("redis", "threads"), ("mariadb", "threads")],
    indirect=["own_stage"],
)
def test_nothing_that_has_begun_is_begun_again(own_stage: Stage, pool: str) -> None:
    """With threads the connections to the store are cut as well: no batch there, whose end could wait for a repair."""
    project = own_stage.project(SOURCE)
    batch = pool == "prefork"
    total = (3 if batch else 2) * JOBS
    if own_stage.broker_url.startswith("laraq-db"):
        project.run([str(Path(sys.executable).with_name("laraq")), "-A", "proj", "migrate"])
    with project.worker(pool=pool, concurrency=2) as worker:
        project.python(f"import proj; proj.send({JOBS}, {batch})")
        for cut in range(CUTS):
            wanted = (cut + 1) * total // (CUTS + 2)
            wait_until(lambda wanted=wanted: sum(runs(project).values()) >= wanted, 30)  # type: ignore[misc]  # binds it
            wait_until(lambda: cut_connections(worker.pid), 30, "the worker is connected")
        wait_until(lambda: len(runs(project)) == total, 30, "every job has run")
        if batch:
            (end,) = wait_until(lambda: noted(project, "finally"), 30, "the batch is over")
            assert (end["done"], end["total"], end["failed"]) == (JOBS, JOBS, 0)
    assert {key: count for key, count in runs(project).items() if count > 1} == {}
    assert own_stage.failed() == []


#: Longer than the tests below take: what comes back was given back.
LONG_LEASE = "app.conf.broker_transport_options = {'retry_after': 600}\n"


@pytest.mark.parametrize("own_stage", ["redis"], indirect=True)
def test_a_job_that_celery_cancels_with_the_connection_comes_back_and_has_used_an_attempt(own_stage: Stage) -> None:
    cancelled = "app.conf.worker_cancel_long_running_tasks_on_connection_loss = True\n"
    project = own_stage.project(SOURCE + LONG_LEASE + cancelled)
    with project.worker() as worker:
        project.python("import proj; proj.Long.dispatch()")
        wait_until(lambda: noted(project, "long"), 20)
        cut_connections(worker.pid)
        wait_until(lambda: len(noted(project, "long")) == 2, 30, "it came back")
    assert [entry["attempt"] for entry in noted(project, "long")] == [1, 2]


@pytest.mark.parametrize("own_stage", ["redis"], indirect=True)
def test_of_a_cold_shutdown_what_ran_has_used_an_attempt_and_what_waited_has_not(own_stage: Stage) -> None:
    project = own_stage.project(SOURCE + LONG_LEASE)
    with project.worker() as worker:
        project.python("import proj; proj.Long.dispatch(); [proj.ordinary.delay(n) for n in range(3)]")
        wait_until(lambda: noted(project, "long"), 20)
        time.sleep(0.5)  # Celery ends only runs of whose start the parent has heard, which nobody outside can see
        worker.send_signal(signal.SIGQUIT)
        worker.wait()
    assert noted(project, "run") == []
    with project.worker():
        wait_until(lambda: len(noted(project, "run")) == 3, 30)
        wait_until(lambda: len(noted(project, "long")) == 2, 30)
    assert [entry["attempt"] for entry in noted(project, "long")] == [1, 2]
    assert {entry["redelivered"] for entry in noted(project, "run")} == {False}
