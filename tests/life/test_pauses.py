"""A paused queue waits, whatever its broker and the pool of its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.life.conftest import Stage
from tests.support.cutting import cut_connections
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
app.conf.broker_transport_options = {"create_tables": True} if "laraq-db" in os.environ["BROKER"] else {}

class Note(Job):
    n: int

    def handle(self): note("ran", n=self.n, attempt=self.attempts)

class Hold(Job):
    def handle(self):
        note("holds")
        while not record.get("go"): time.sleep(0.01)
        note("held")
"""


@pytest.fixture(params=["redis", "amqp", "laraq-redis", "laraq-db"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, queue_name: str) -> Any:
    own = {"laraq-redis": f"laraq-{redis_url}", "laraq-db": f"laraq-db+sqlite:///{tmp_path / 'broker.db'}"}
    broker = own.get(request.param) or request.getfixturevalue(f"{request.param}_url")
    stage = Stage(tmp_path, broker, redis_url, queue_name)
    yield stage
    stage.close()


def ran(stage: Stage) -> list[int]:
    return [entry["n"] for entry in stage.noted("ran")]


def send(*jobs: tuple[int, str]) -> str:
    return "import proj\n" + "\n".join(f"proj.Note({n}).on_queue({queue!r}).dispatch()" for n, queue in jobs)


def assert_it_waits_until_resumed(stage: Stage, project: Project) -> None:
    """The worker runs the job of the other queue first, although `high` comes before it."""
    project.python(send((1, "high"), (2, "low")))
    stage.wait_for("ran", n=2)
    project.python("import proj; proj.Queue.resume('high')")
    stage.wait_for("ran", n=1)
    assert ran(stage) == [2, 1]


def test_a_worker_leaves_a_paused_queue_alone_and_takes_it_up_again_in_its_place(stage: Stage) -> None:
    project = stage.project(SOURCE)
    with project.worker(queues=["high", "low"], args=["--prefetch-multiplier", "1"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        project.python(send((1, "high"), (2, "low"), (3, "low")))
        stage.wait_for("ran", times=2)
        project.python("import proj; assert proj.Queue.paused('high'); proj.Queue.resume('high')")
        worker.wait_for_log("Queue high goes on")
        stage.wait_for("ran", times=3)
        assert ran(stage) == [2, 3, 1]
        assert [entry["attempt"] for entry in stage.noted("ran")] == [1, 1, 1]
        assert worker.terminate() == 0


def test_a_worker_that_starts_later_obeys_too(stage: Stage) -> None:
    project = stage.project(SOURCE)
    project.python("import proj; proj.Queue.pause_all()\n" + send((1, "celery"), (2, "low")))
    with project.worker(queues=["celery", "low"]) as worker:
        assert ran(stage) == []
        project.python("import proj; proj.Queue.pause('low'); proj.Queue.resume_all()")
        worker.wait_for_log("Queue celery goes on")
        stage.wait_for("ran")
        project.python("import proj; proj.Queue.resume('low')")
        stage.wait_for("ran", times=2)
        assert ran(stage) == [1, 2]
        assert worker.terminate() == 0


def test_what_is_prefetched_goes_back_with_its_attempt_unused_and_what_runs_goes_on(stage: Stage) -> None:
    project = stage.project(SOURCE)
    with project.worker(queues=["high"], args=["--prefetch-multiplier", "4"]) as worker:
        project.python("import proj; proj.Hold().on_queue('high').dispatch()")
        stage.wait_for("holds")
        project.python(send((1, "high"), (2, "high"), (3, "high")))
        worker.wait_for_log(r"Task proj\.Note\[\S+ received", times=3)
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        stage.record.set("go", 1)
        stage.wait_for("held")
        wait_until(lambda: int(project.python("import proj; print(proj.Queue.pending_size('high'))")) == 3)
        assert ran(stage) == []
        project.python("import proj; proj.Queue.resume('high')")
        stage.wait_for("ran", times=3)
        assert ran(stage) == [1, 2, 3]
        assert [entry["attempt"] for entry in stage.noted("ran")] == [1, 1, 1]
        assert worker.terminate() == 0


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_workers_of_every_pool_obey(redis_stage: Stage, pool: str) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    with project.worker(queues=["high", "low"], pool=pool) as worker:
        project.python("import proj; proj.Queue.pause('high', 600)")
        worker.wait_for_log("Queue high is paused")
        assert_it_waits_until_resumed(stage, project)
        assert worker.terminate() == 0


def test_a_pause_for_a_time_ends_in_the_worker_by_itself(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    project.python("import proj; proj.Queue.pause('high', 2)\n" + send((1, "high")))
    with project.worker(queues=["high"]) as worker:
        stage.wait_for("ran")
        assert worker.terminate() == 0


def test_a_laravel_worker_tells_of_it(redis_stage: Stage) -> None:
    project = redis_stage.project(
        SOURCE + 'Events.listen(events.WorkerQueuePaused, lambda event: note("told", queue=event.queue))'
    )
    with project.worker(command="laraq", queues=["high", "low"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log(r"^Queue default:high is paused\.$")
        project.python("import proj; proj.Queue.resume('high')")
        worker.wait_for_log(r"^Queue default:high is resumed\.$")
        assert worker.terminate() == 0
    assert [entry["queue"] for entry in redis_stage.noted("told")] == ["high"]


AWAY = """
from laraq.errors import StoreError

stored = queue.store.cache
peek = stored.peek

def peek_unless_away(key):
    if os.path.exists("away"):
        raise StoreError("the store is away")
    return peek(key)

stored.peek = peek_unless_away
"""


def test_a_paused_queue_stays_paused_while_the_store_is_away(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE + AWAY)
    away = project.folder / "away"
    with project.worker(queues=["high", "low"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        away.touch()
        worker.wait_for_log("could not be looked up, the last ones count: the store is away")
        project.python(send((1, "high"), (2, "low")))
        stage.wait_for("ran", n=2)
        away.unlink()
        project.python("import proj; proj.Queue.resume('high')")
        stage.wait_for("ran", n=1)
        assert ran(stage) == [2, 1]
        assert worker.terminate() == 0


@pytest.mark.fault
def test_a_paused_queue_stays_paused_when_the_connection_is_cut(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(SOURCE)
    with project.worker(queues=["high", "low"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        assert cut_connections(worker.pid)
        worker.wait_for_log("Connected to redis", times=2)
        assert_it_waits_until_resumed(stage, project)
        assert worker.terminate() == 0


def test_a_job_that_dies_while_its_queue_is_paused_has_used_its_try(stage: Stage) -> None:
    project = stage.project(
        SOURCE
        + """
class Dies(Job):
    tries = 1
    def handle(self):
        note("dies")
        while not record.get("go"): time.sleep(0.01)
        os.kill(os.getpid(), 9)
"""
    )
    with project.worker(queues=["high"]) as worker:
        project.python("import proj; proj.Dies().on_queue('high').dispatch()")
        stage.wait_for("dies")
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        stage.record.set("go", 1)
        stage.wait_for_failed()
        project.python("import proj; proj.Queue.resume('high')\n" + send((1, "high")))
        stage.wait_for("ran")
        assert len(stage.noted("dies")) == 1
        assert worker.terminate() == 0


def test_workers_are_told_of_a_change_and_a_pause_for_a_time_ends_by_itself(stage: Stage) -> None:
    project = stage.project(SOURCE + "from laraq_celery.worker.steps import obey\nobey.TOLD_LOOK = 600\n")
    with project.worker(queues=["high"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        project.python("import proj; proj.Queue.resume('high')")
        worker.wait_for_log("Queue high goes on")
        project.python("import proj; proj.Queue.pause('high', 2)\n" + send((1, "high")))
        stage.wait_for("ran")
        assert worker.terminate() == 0


def test_a_worker_without_remote_control_looks_by_itself(redis_stage: Stage) -> None:
    source = "from laraq_celery.worker.steps import obey\nobey.TOLD_LOOK = 600\n"
    project = redis_stage.project(SOURCE + source + "app.conf.worker_enable_remote_control = False\n")
    with project.worker(queues=["high"]) as worker:
        project.python("import proj; proj.Queue.pause('high')")
        worker.wait_for_log("Queue high is paused")
        assert worker.terminate() == 0
