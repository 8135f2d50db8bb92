"""Jobs of every kind while workers are killed: each uuid ends exactly once.

LARAQ_MIXED_JOBS (up to 2000) and LARAQ_MIXED_KILLS make it longer.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.life.conftest import Stage
from tests.life.test_crashes import give_back
from tests.support.waiting import wait_until
from tests.support.worker import WorkerProcess

pytestmark = [pytest.mark.serial, pytest.mark.fault, pytest.mark.timeout(400)]

JOBS = int(os.environ.get("LARAQ_MIXED_JOBS", "1000"))
KILLS = int(os.environ.get("LARAQ_MIXED_KILLS", "3"))

MIXED = """
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_transport_options = {
    # A dead worker's messages come back after 4 s instead of an hour; no job here runs that long.
    "visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
} if os.environ["BROKER"].startswith("redis") else {}

class Mixed(Job):
    kind: str

    tries = 4
    backoff = 0.05

    def handle(self):
        record.rpush("starts", f"{self.id} {self.attempts}")
        time.sleep(0.02)
        match self.kind:
            case "retry" if self.attempts < 2: raise ValueError("once more")
            case "release" if self.attempts < 2: return self.release(0.05)
            case "raise": raise ValueError("always")
            case "fail": self.fail("by hand")
            case "crash" if self.attempts < 2: os._exit(1)
            case "killer": os.kill(os.getpid(), signal.SIGKILL)

Queue.after(lambda event: record.sadd("done", event.id))
Queue.failing(lambda event: record.sadd("failed", event.id))
"""

#: Crashes cost a new process each, so there are few of them.
KINDS = (
    ["success"] * 1500
    + ["retry"] * 200
    + ["release"] * 150
    + ["raise"] * 60
    + ["fail"] * 60
    + ["crash"] * 24
    + ["killer"] * 6
)


def test_every_job_is_done_or_failed_exactly_once(stage: Stage) -> None:
    project = stage.project(MIXED)
    kinds = random.Random(7).sample(KINDS, JOBS)
    ids = dict(
        zip(
            project.python(f"""
        import proj
        for kind in {kinds!r}:
            print(proj.Mixed.dispatch(kind).id)
    """).split(),
            kinds,
            strict=True,
        )
    )
    with ExitStack() as workers:
        for _ in range(KILLS):
            worker = workers.enter_context(project.worker(concurrency=4))
            time.sleep(2)
            wait_for_a_full_worker(stage, worker)
            worker.kill()
            give_back(stage)
        workers.enter_context(project.worker(concurrency=4))
        record = stage.record
        wait_until(lambda: record.scard("done") + len(stage.failed()) >= JOBS, 240, f"{JOBS} jobs have ended")
        done = {id.decode() for id in record.smembers("done")}
        failed = {failed.id for failed in stage.failed()}
    assert done | failed == ids.keys()
    assert not done & failed
    starts = Counter(start.decode().split()[0] for start in record.lrange("starts", 0, -1))
    assert max(starts.values()) <= 4, "tries = 4 means at most four starts, whatever happens"
    assert {kind for id, kind in ids.items() if id in failed} <= {"raise", "fail", "killer"} | lost_four_times(starts)


def lost_four_times(starts: Counter[str]) -> set[str]:
    """A job of any kind fails when a kill took each of its starts."""
    return {"success", "retry", "release", "crash"} if any(count == 4 for count in starts.values()) else set()


def wait_for_a_full_worker(stage: Stage, worker: WorkerProcess, holds: int = 4) -> None:
    """On Redis, stop the worker at a moment when no fetch is under way.

    kombu's Redis transport loses a message when the worker dies between BRPOP's reply and the write to `unacked`
    (docs/guarantees.md); that is not what this test is about. A worker that `holds` as many as it may has no credit to
    fetch another, and all of `unacked` is its own, for what the one before held was given back.
    """
    if not stage.broker_url.startswith("redis"):
        return

    def stopped_when_full() -> bool:
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(0.05)  # what it has sent is with the server by then
        if stage.record.hlen("unacked") == holds:
            return True
        os.kill(worker.pid, signal.SIGCONT)
        return False

    wait_until(stopped_when_full, 30, "the worker holds all it may")
