"""`laraq restart`, as a deploy calls it."""

from __future__ import annotations

import pytest

from tests.cli.programs import LARAQ
from tests.life.conftest import Stage

SOURCE = """
class Note(Job):
    def handle(self): note("ran", attempt=self.attempts)

class Hold(Job):
    def handle(self):
        note("holds")
        while not record.get("go"): time.sleep(0.01)
        note("held")
"""


def test_every_worker_finishes_what_it_runs_and_exits_and_a_new_one_stays(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    with project.worker() as celery, project.worker(command="laraq", queues=["other"]) as laraq:
        project.python("import proj; proj.Hold.dispatch()")
        stage.wait_for("holds")
        project.python("import proj; proj.Note.dispatch()")
        celery.wait_for_log(r"Task proj\.Note\[\S+ received")
        project.run([*LARAQ, "-A", "proj", "restart"])
        assert laraq.wait() == 0
        celery.wait_for_log("A restart is ordered")
        stage.record.set("go", 1)
        assert celery.wait() == 0
    assert (len(stage.noted("held")), stage.noted("ran")) == (1, [])
    with project.worker() as celery:
        [ran] = stage.wait_for("ran")
        assert ran["attempt"] == 1
        assert celery.terminate() == 0


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_workers_of_every_pool_exit(redis_stage: Stage, pool: str) -> None:
    project = redis_stage.project(SOURCE)
    with project.worker(pool=pool) as worker:
        project.run([*LARAQ, "-A", "proj", "restart"])
        assert worker.wait() == 0
