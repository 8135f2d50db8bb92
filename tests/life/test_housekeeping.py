"""The run journal stays small while a worker lives, and holds nothing of one that has ended."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from laraq.ports.journal import JournalEntry, RunState
from tests.life.conftest import Stage
from tests.support.waiting import wait_until

SOURCE = """
from laraq_celery.worker.steps import housekeeping

housekeeping.ERASE, housekeeping.FIRST_PRUNE, housekeeping.PRUNE = 0.2, 0.1, 0.5
app.conf.broker_transport_options = {"retry_after": 60}

class Plain(Job):
    def handle(self): note("ran")
"""


@pytest.fixture
def own_stage(tmp_path: Path, redis_url: str, queue_name: str) -> Stage:
    return Stage(tmp_path, f"laraq-{redis_url}", redis_url, queue_name)


def records(stage: Stage) -> int:
    return int(stage.record.hlen("{laraq}:journal"))


def test_records_of_children_that_are_gone_are_erased_while_their_worker_lives(own_stage: Stage) -> None:
    stage = own_stage
    project = stage.project(SOURCE)
    project.python("import proj\nfor n in range(6): proj.Plain.dispatch()")
    with project.worker(args=["--max-tasks-per-child", "1"]) as worker:
        stage.wait_for("ran", times=6)
        wait_until(lambda: records(stage) <= 1, 20, "only one child may still have a record")
        assert worker.terminate() == 0
    assert records(stage) == 0
    stage.close()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_that_ends_leaves_no_record_and_prunes_those_of_others_meanwhile(own_stage: Stage, pool: str) -> None:
    stage = own_stage
    project = stage.project(SOURCE)
    with project.worker(pool=pool, concurrency=2) as worker:
        project.python("import proj\nfor n in range(20): proj.Plain.dispatch()")
        stage.wait_for("ran", times=20)
        long_ago = time.time() - timedelta(days=8).total_seconds()
        stage.record.hset("{laraq}:journal", "elsewhere:1:x", json.dumps([long_ago, ["a", 1, "running"]]))
        stage.store.journal.write("elsewhere:2:y", [JournalEntry("b", 1, RunState.RUNNING)])
        wait_until(lambda: stage.store.journal.find("a") is None, 20, "the old record is pruned")
        assert worker.terminate() == 0
    assert stage.record.hkeys("{laraq}:journal") == [b"elsewhere:2:y"]
    stage.close()


def test_one_of_the_workers_prunes_failed_jobs_and_batches(own_stage: Stage) -> None:
    stage = own_stage
    project = stage.project(
        SOURCE
        + """
from laraq import Bus
app.conf.update(laraq_prune_failed_after=0, laraq_prune_batches_after=0)
housekeeping.PRUNE = 1.0
prune = type(queue.failed).prune
type(queue.failed).prune = lambda self, hours: (note("pruned"), prune(self, hours))[1]

class Breaks(Job):
    def handle(self): raise ValueError("no")
"""
    )
    project.python("from proj import *; Bus.batch([Plain()]).dispatch(); Breaks.dispatch()")
    with project.worker() as first, project.worker() as second:
        wait_until(lambda: (stage.noted("pruned") and not stage.failed()) or None, 20, "the failed job is dropped")
        wait_until(lambda: not list(stage.store.batches.all()) or None, 20, "the batch is dropped")
        stage.wait_for("pruned", 4)
        pids = {entry["pid"] for entry in stage.noted("pruned")}
        assert pids <= {first.pid, second.pid}
    times = sorted(entry["time"] for entry in stage.noted("pruned"))
    assert all(later - earlier > 0.3 for earlier, later in pairwise(times)), "one at a time"
