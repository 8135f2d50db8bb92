"""A whole worker is killed under load: no job that had begun is begun again as if it had not."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.life.conftest import Stage
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

JOBS = int(os.environ.get("LARAQ_KILL_JOBS", "250"))

SOURCE = """
from laraq import Bus
from laraq_kombu import ledger
from laraq_celery.worker import outcomes

app.conf.broker_transport_options = {"retry_after": 2, "create_tables": True, "poll": 1}
if os.environ.get("MUTE"): outcomes.Outcomes._work = lambda self: None
ledger.ACK_LINGER = 5.0  # acknowledgements go along with the next question, many at once

def mark(what, **facts):
    with open("notes", "a") as file:
        file.write(json.dumps({"what": what, **facts}) + "\\n")

class Once(Job):
    n: int
    tries = 1
    def handle(self): mark("run", n=self.n)
    def failed(self, error): mark("failed", n=self.n)

class Last(Job):
    tries = 1
    def handle(self):
        mark("last", n=0)
        time.sleep(60)

def finally_(batch): mark("over", n=batch.processed_jobs)

def send_batch(count):
    Bus.batch([*(Once(n) for n in range(count)), Last()]).allow_failures().finally_(finally_).dispatch()

def send(count):
    for n in range(count): Once.dispatch(n)
"""


def noted(project: Project, what: str) -> list[int]:
    path = project.folder / "notes"
    text = path.read_text() if path.exists() else ""
    notes = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [entry["n"] for entry in notes if entry["what"] == what]


@pytest.mark.parametrize(
    ("broker", "pool", "concurrency", "multiplier"),
    [
        ("redis", "threads", 32, 4),
        ("redis", "prefork", 2, 0),
    ],
)
def test_no_job_is_begun_twice_though_many_had_ended_and_were_not_acknowledged(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_url: str,
    queue_name: str,
    broker: str,
    pool: str,
    concurrency: int,
    multiplier: int,
) -> None:
    url = request.getfixturevalue(f"{broker}_url")
    stage = Stage(tmp_path, f"laraq-{url}" if broker == "redis" else f"laraq-db+{url}", redis_url, queue_name)
    project = stage.project(SOURCE)
    project.python(f"import proj; proj.send({JOBS})")
    prefetch = ["--prefetch-multiplier", str(multiplier)]
    with project.worker(pool=pool, concurrency=concurrency, args=prefetch) as worker:
        wait_until(lambda: len(noted(project, "run")) > JOBS // 3, 30, "a third has run")
        worker.kill()
    with project.worker(pool=pool, concurrency=concurrency, args=prefetch):
        wait_until(lambda: {*noted(project, "run"), *noted(project, "failed")} == {*range(JOBS)}, 40, "all are over")
    assert [n for n, count in Counter(noted(project, "run")).items() if count > 1] == []
    stage.close()


def test_a_batch_of_which_nothing_was_told_yet_runs_no_job_again(
    tmp_path: Path, redis_url: str, queue_name: str
) -> None:
    """One child has ended them all; the parent, which was about to tell their batch, is killed with it."""
    stage = Stage(tmp_path, f"laraq-{redis_url}", redis_url, queue_name)
    project = stage.project(SOURCE)
    project.python("import proj; proj.send_batch(60)")
    prefetch = ["--prefetch-multiplier", "128"]
    with project.worker(args=prefetch, env={"MUTE": "1"}) as worker:
        wait_until(lambda: noted(project, "last"), 30, "the last one runs")
        worker.kill()
    with project.worker(args=prefetch):
        wait_until(lambda: noted(project, "over") == [60], 40, "the batch is over")
    assert sorted(noted(project, "run")) == [*range(60)]
    stage.close()
