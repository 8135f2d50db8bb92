"""A signal to every process of a worker, as systemd, Supervisor and terminals send it, is the parent's to answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.life.conftest import Stage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

#: Seconds of grace before a cold shutdown cuts what still runs.
GRACE = 1.5

WORK = f"""
from laraq_celery.worker import group_signals

# A child that is in doubt about a signal makes up its mind later than any test waits.
group_signals.PATIENCE = float(os.environ.get("PATIENCE", "300"))
app.conf.worker_soft_shutdown_timeout = {GRACE}

class Work(Job):
    name: str
    seconds: float

    def handle(self):
        note("start", name=self.name, attempt=self.attempts)
        until = time.monotonic() + self.seconds
        while time.monotonic() < until: time.sleep(0.01)
        note("end", name=self.name)

class Twice(Work):
    tries = 2

@app.task(ignore_result=True)
def plain(name, seconds):
    note("start", name=name)
    time.sleep(seconds)
    note("end", name=name)
"""


@pytest.fixture(params=["redis", "amqp", "laraq-redis", "sqlite", "postgres"])
def any_stage(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Stage]:
    """On each broker in turn, stock ones and ours."""
    kind = request.param
    url = f"laraq-{redis_url}" if kind == "laraq-redis" else request.getfixturevalue(f"{kind}_url")
    if kind in ("sqlite", "postgres"):
        url = f"laraq-db+{url}"
    stage = Stage(tmp_path, url, redis_url, "celery")
    if kind == "postgres":
        stage.project("").python("from proj import *; queue.host.migrate()")
    yield stage
    stage.close()


def test_what_runs_may_end_and_who_is_cut_has_used_an_attempt(any_stage: Stage) -> None:
    """The hardest case: SIGTERM for a deploy, a lost child, and a cold shutdown because that takes too long."""
    stage = any_stage
    project = stage.project(WORK)
    with project.worker(concurrency=4) as worker:
        project.python("""
            from proj import *
            for name, seconds in [("short", 1.5), ("long", 300), ("lost", 300)]: Work.dispatch(name, seconds)
            plain.delay("task", 0.5)
        """)
        stage.wait_for("start", times=4)
        worker.signal_group(signal.SIGTERM)
        worker.wait_for_log("Warm shutdown")
        os.kill(stage.noted("start", name="lost")[0]["pid"], signal.SIGKILL)
        stage.wait_for("end", name="task")  # not sooner: py-amqp locks up when a signal interrupts it while it writes
        worker.signal_group(signal.SIGQUIT)
        worker.wait()
    assert names(stage, "end") == ["short", "task"]
    with project.worker(command="laraq", args=["--stop-when-empty"]) as worker:
        worker.wait()
    assert sorted(record.payload["kwargs"]["name"] for record in stage.failed()) == ["long", "lost"]
    assert all("the worker died in the middle of its run" in record.exception for record in stage.failed())
    assert names(stage, "start") == ["long", "lost", "short", "task"], "each of them started once"


@pytest.mark.parametrize("numbers", [["SIGHUP", "SIGTERM"], ["SIGINT", "SIGTERM", "SIGTERM"]])
def test_a_group_that_is_told_to_stop_ends_once_its_jobs_have(redis_stage: Stage, numbers: list[str]) -> None:
    stage = redis_stage
    project = stage.project(WORK)
    with project.worker(concurrency=3) as worker:  # one of its children stays idle
        project.python("from proj import *; Work.dispatch('job', 1); plain.delay('task', 1)")
        stage.wait_for("start", times=2)
        for number in numbers:
            worker.signal_group(signal.Signals[number])
        if "SIGHUP" not in numbers:  # after which Celery starts anew
            worker.wait()
        stage.wait_for("end", times=2)
    assert names(stage, "end") == names(stage, "start") == ["job", "task"]
    assert stage.failed() == []


def test_a_child_still_ends_at_once_when_its_parent_says_so(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(WORK)
    with project.worker(concurrency=2, args=["--max-tasks-per-child", "2"]) as worker:
        # By a command, with an ordinary task as with a job;
        ids = project.python("from proj import *; print(plain.delay('task', 300).id, Work.dispatch('job', 300).id)")
        starts = stage.wait_for("start", times=2)
        project.python(f"from proj import *; app.control.revoke({ids.split()}, terminate=True)")
        for start in starts:
            wait_until(partial(is_gone, start["pid"]), message="the child has ended")
        # by its number of tasks,
        project.python("from proj import *; [Work.dispatch(str(n), 0) for n in range(8)]")
        assert len({note["pid"] for note in stage.wait_for("end", times=8)}) > 2
        # when the pool shrinks,
        project.python("from proj import *; app.control.pool_shrink(1)")
        wait_until(lambda: len(worker.child_pids()) == 1, message="one child is left")
        # and with its parent.
        project.python("from proj import *; Work.dispatch('last', 300)")
        stage.wait_for("start", name="last")
        worker.kill_parent()
        wait_until(lambda: not worker.group_pids(), message="no child is left")


def test_a_signal_to_a_child_alone_ends_it_and_counts(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(WORK)
    with project.worker(concurrency=2, env={"PATIENCE": "0.2"}):
        project.python("from proj import *; Twice.dispatch('job', 300); plain.delay('task', 1)")
        for attempt in (1, 2):
            [start] = stage.wait_for("start", name="job", attempt=attempt)
            os.kill(start["pid"], signal.SIGTERM)
        [failed] = stage.wait_for_failed()
        stage.wait_for("end", name="task")
    assert "JobLostError" in failed.exception
    assert names(stage, "start") == ["job", "job", "task"]


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def names(stage: Stage, what: str) -> list[Any]:
    return sorted(entry["name"] for entry in stage.noted(what))
