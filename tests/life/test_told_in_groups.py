"""Batches whose jobs' successes are told by the parent of a real worker, in groups."""

from __future__ import annotations

import json

import pytest

from tests.life.conftest import Stage
from tests.life.test_crashes import cut_connections, messages_left

TOLD = """
from laraq import Bus
from laraq.errors import StoreError
from laraq.workflow.batch_service import BatchService

app.conf.worker_prefetch_multiplier = 16
tell, tell_together = BatchService.succeeded, BatchService.succeeded_together

def succeeded(self, payload):
    note("settled", job=payload.id)
    return tell(self, payload)

def succeeded_together(self, id, successes):
    if record.decr("away") >= 0: raise StoreError("the store is away")
    note("told", jobs=[success.job for success in successes])
    return tell_together(self, id, successes)

BatchService.succeeded, BatchService.succeeded_together = succeeded, succeeded_together

class Ran(Job):
    n: int = 0
    tries = 1
    def handle(self): note("ran", id=self.id, number=self.n)

class Slow(Job):
    def handle(self):
        note("slow")
        time.sleep(0.7)

class Odd(Job):
    ignore_result = False
    def handle(self): return object()

class Breaks(Job):
    def handle(self): raise ValueError("always")

def progress(batch): note("progress")
def then(batch): note("then", done=batch.processed_jobs)
def finally_(batch): note("finally", done=batch.processed_jobs, total=batch.total_jobs, failed=batch.failed_jobs)
"""


def test_the_parent_tells_several_at_once_and_no_child_tells_any(stage: Stage) -> None:
    project = stage.project(TOLD)
    project.python("from proj import *; Bus.batch(Ran(n) for n in range(400)).then(then).finally_(finally_).dispatch()")
    with project.worker(concurrency=2) as worker:
        (end,) = stage.wait_for("finally")
        stage.wait_for("then")
    assert (end["done"], end["total"]) == (400, 400)
    told = stage.noted("told")
    assert {entry["pid"] for entry in told} == {worker.pid}
    assert sorted(job for entry in told for job in entry["jobs"]) == sorted(entry["id"] for entry in stage.noted("ran"))
    assert len(told) < len(stage.noted("ran"))
    assert not stage.noted("settled")


def test_who_listens_to_processed_jobs_changes_nothing(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(
        TOLD
        + """
def heard(event):
    if isinstance(event.job, Ran): note("heard")
Queue.after(heard)
"""
    )
    project.python("from proj import *; Bus.batch([Ran()]).finally_(finally_).dispatch()")
    with project.worker() as worker:
        stage.wait_for("finally")
    assert len(stage.noted("heard")) == 1
    assert {entry["pid"] for entry in stage.noted("told")} == {worker.pid}
    assert not stage.noted("settled")


def test_progress_is_told_of_each_job(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(TOLD)
    project.python("""
        from proj import *
        jobs = [*(Ran(n) for n in range(40)), Breaks(), [Ran(40), Ran(41)]]
        Bus.batch(jobs).progress(progress).finally_(finally_).allow_failures().dispatch()
    """)
    with project.worker(concurrency=2):
        (end,) = stage.wait_for("finally")
        stage.wait_for("progress", times=43)
    assert (end["done"], end["failed"], end["total"]) == (42, 1, 43)


def test_a_warm_shutdown_tells_and_acknowledges_what_still_ends(stage: Stage) -> None:
    project = stage.project(TOLD)
    id = project.python("from proj import *; print(Bus.batch([Slow(), Slow(), Ran()]).dispatch().id)").strip()
    with project.worker(concurrency=3) as worker:
        stage.wait_for("slow", times=2)
        worker.terminate()
    record = stage.store.batches.find(id)
    assert record is not None
    assert (record.done, record.total, record.finished_at is not None) == (3, 3, True)
    with project.worker(concurrency=3):
        project.python("from proj import *; Bus.batch([Ran(7)]).finally_(finally_).dispatch()")
        stage.wait_for("finally")
    assert len(stage.noted("slow")) == 2, "they were acknowledged"


def test_successes_wait_while_the_store_is_away_and_nothing_runs_again(redis_stage: Stage) -> None:
    stage = redis_stage
    stage.record.set("away", 3)
    project = stage.project(TOLD)
    project.python("from proj import *; Bus.batch(Ran(n) for n in range(10)).finally_(finally_).dispatch()")
    with project.worker(concurrency=2) as worker:
        worker.wait_for_log(r"The follow-up of \d+ job\(s\) of batch .* is tried again in .* the store is away")
        (end,) = stage.wait_for("finally")
    assert (end["done"], end["total"]) == (10, 10)
    assert len(stage.noted("ran")) == 10


def test_a_success_whose_batch_cannot_be_notified_for_long_is_not_run_again(redis_stage: Stage) -> None:
    """Here the job's process notifies it. The journal, in another store perhaps, learns of the success instead."""
    stage = redis_stage
    stage.record.set("down", 3)
    project = stage.project(
        TOLD
        + """
from laraq.running import persistence

app.conf.worker_prefetch_multiplier = 1
persistence.PAUSES = ()

def unless_down(self, payload):
    if record.decr("down") >= 0: raise StoreError("the store is down")
    return tell(self, payload)

BatchService.succeeded = unless_down
"""
    )
    project.python("from proj import *; Bus.batch([Ran(1)]).finally_(finally_).dispatch()")
    with project.worker():
        (end,) = stage.wait_for("finally")
    assert (end["done"], end["failed"], end["total"]) == (1, 0, 1)
    assert [entry["number"] for entry in stage.noted("ran")] == [1]


def test_a_job_whose_result_cannot_be_kept_is_counted_all_the_same(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(TOLD + "app.conf.result_backend = os.environ['STORE']\n")
    project.python("from proj import *; Bus.batch([Odd(), Ran()]).finally_(finally_).dispatch()")
    with project.worker():
        (end,) = stage.wait_for("finally")
    assert (end["done"], end["total"]) == (2, 2)


@pytest.mark.fault
def test_a_worker_that_is_killed_before_its_parent_tells_loses_no_job_and_counts_none_twice(stage: Stage) -> None:
    """The next note of the journal, that of the next start, says that the job before it succeeded."""
    if stage.broker_url.startswith("redis"):
        options = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    else:
        options = {}
    project = stage.project(
        TOLD
        + f"""
from laraq_celery.worker import outcomes
app.conf.broker_transport_options = {json.dumps(options)}
if record.get("mute"): outcomes.Outcomes._work = lambda self: None
"""
    )
    stage.record.set("mute", 1)
    project.python("from proj import *; Bus.batch([Ran(1), Ran(2), Slow()]).finally_(finally_).dispatch()")
    with project.worker() as worker:
        stage.wait_for("slow")
        worker.kill()
    assert not stage.noted("told")
    stage.record.delete("mute")
    with project.worker():
        (end,) = stage.wait_for("finally", timeout=60)
    assert (end["done"], end["failed"], end["total"]) == (2, 1, 3), "what slept was killed, with one try"
    assert [entry["number"] for entry in stage.noted("ran")] == [1, 2], "they were not run again"


@pytest.mark.fault
def test_a_connection_that_is_cut_before_a_success_is_told_does_not_run_the_job_again(stage: Stage) -> None:
    """The message that comes again is taken for the one that waits (strategy.py)."""
    stage.record.set("away", 4)
    project = stage.project(TOLD)
    project.python("from proj import *; Bus.batch([Ran(1)]).finally_(finally_).dispatch()")
    with project.worker() as worker:
        worker.wait_for_log("the store is away", times=2)
        cut_connections(stage, worker.pid)
        stage.wait_for("finally")
        project.python("from proj import *; Bus.batch([Ran(2)]).finally_(finally_).dispatch()")
        stage.wait_for("finally", times=2)
        assert worker.terminate() == 0
    assert [entry["number"] for entry in stage.noted("ran")] == [1, 2]
    assert messages_left(stage) == 0
