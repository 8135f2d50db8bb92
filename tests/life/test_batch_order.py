"""The order of a batch's callbacks, and the events of a worker's life, with real workers."""

from __future__ import annotations

import pytest

from tests.life.conftest import Stage

ORDERED = """
from laraq import Bus
app.conf.result_backend = os.environ["STORE"]

class Note(Job):
    what: str
    def handle(self): note("job")

@app.task
def legacy(): note("job")

def slow(name, seconds=0.7):
    note(f"{name} begins")
    time.sleep(seconds)
    note(f"{name} ends")

def before(batch): slow("before")
def then(batch): slow("then")
def also(batch): slow("then", 0.2)
def failing(batch):
    slow("then", 0.2)
    os.kill(os.getpid(), signal.SIGKILL)
def progress(batch): note("progress", done=batch.processed_jobs, percent=batch.progress)
def finally_(batch): note("finally")
"""


def test_before_is_over_before_the_first_job_and_then_before_finally(stage: Stage) -> None:
    project = stage.project(ORDERED)
    with project.worker(concurrency=4):
        project.python("""
            from proj import *
            jobs = [*map(Note, "abcde"), *[legacy.s()] * 3, [Note("first"), legacy.si(), Note("last")]]
            batch = Bus.batch(jobs).before(before).progress(progress)
            batch.then(then).then(also).then(failing).finally_(finally_).dispatch()
        """)
        total = 11
        stage.wait_for("finally", timeout=60)
        stage.wait_for("progress", times=total)
    noted = [entry["what"] for entry in stage.noted() if entry["what"] != "progress"]
    assert noted[:2] == ["before begins", "before ends"]
    assert noted[2 : 2 + total] == ["job"] * total
    assert sorted(noted[2 + total : -1]) == ["then begins"] * 3 + ["then ends"] * 3
    assert noted[-1] == "finally"
    assert sorted(entry["done"] for entry in stage.noted("progress")) == list(range(1, total + 1))


HEARD = """
class Note(Job):
    n: int
    tries = 2
    def handle(self): note("job", n=self.n)

def decide(event):
    note("processing", n=event.job.n, attempt=event.attempts)
    if event.job.n == 1: event.job.delete()
    if event.job.n == 2 and event.attempts == 1: event.job.release()
    if event.job.n == 3: event.job.fail("not this one")

Queue.before(decide)
Queue.stopping(lambda event: note("stopping", worker=event.worker))
Events.listen(events.JobPopping, lambda event: note("popping", queue=event.queue, connection=event.connection))
Events.listen(events.JobPopped, lambda event: note("popped", id=event.id, attempt=event.attempts))
"""


def test_a_worker_that_ends_by_itself_says_so_and_listeners_decide_about_jobs(redis_stage: Stage) -> None:
    project = redis_stage.project(HEARD)
    project.python("from proj import *; [Note(n).dispatch() for n in range(4)]")
    with project.worker(command="laraq", args=["--stop-when-empty"], await_ready=False) as worker:
        assert worker.wait(60) == 0
    assert [entry["n"] for entry in redis_stage.noted("job")] == [0, 2]
    assert [(e["n"], e["attempt"]) for e in redis_stage.noted("processing")] == [(0, 1), (1, 1), (2, 1), (3, 1), (2, 2)]
    assert "not this one" in redis_stage.failed()[0].exception
    assert len(redis_stage.noted("stopping")) == 1
    assert [entry["attempt"] for entry in redis_stage.noted("popped")] == [1, 1, 1, 1, 2]
    whence = {(entry["queue"], entry["connection"]) for entry in redis_stage.noted("popping")}
    assert (len(redis_stage.noted("popping")), whence) == (5, {("celery", "default")})


@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "remote control"])
def test_a_worker_says_once_that_it_stops(redis_stage: Stage, by_signal: bool) -> None:
    project = redis_stage.project(HEARD)
    with project.worker(pool="solo") as worker:
        if by_signal:
            assert worker.terminate() == 0
        else:
            project.python("from proj import *; app.control.shutdown()")
            assert worker.wait(60) == 0
    assert len(redis_stage.noted("stopping")) == 1
