"""`laraq down` and `up`, as a deploy calls them."""

from __future__ import annotations

from tests.cli.programs import LARAQ
from tests.life.conftest import Stage

SOURCE = """
class Note(Job):
    n: int

    def handle(self): note("ran", n=self.n)
"""


def test_jobs_wait_while_the_application_is_down_except_for_forced_workers(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    with project.worker(queues=["celery", "low"]) as worker:
        project.run([*LARAQ, "-A", "proj", "down"])
        worker.wait_for_log("Queue low is paused")
        worker.wait_for_log("Queue celery is paused")
        project.python("import proj; proj.Note(1).dispatch(); proj.Note(2).on_queue('forced').dispatch()")
        forced = ["work", "--force", "--once", "--queue", "forced"]
        project.run([*LARAQ, "-A", "proj", *forced])
        assert [entry["n"] for entry in stage.noted("ran")] == [2]
        project.run([*LARAQ, "-A", "proj", "up"])
        stage.wait_for("ran", n=1)
        assert worker.terminate() == 0
    project.run([*LARAQ, "-A", "proj", "up"], status=1)


def test_a_worker_that_starts_while_it_is_down_takes_nothing(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    project.run([*LARAQ, "-A", "proj", "down"])
    project.python("import proj; proj.Note(1).dispatch()")
    project.run([*LARAQ, "-A", "proj", "work", "--stop-when-empty"])
    assert stage.noted("ran") == []
