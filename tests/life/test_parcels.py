"""Short jobs share their way to a process of the pool; nothing else about them is shared."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.life.conftest import Stage
from tests.life.test_crashes import give_back
from tests.support.full import full_size_only
from tests.support.project import Project
from tests.support.waiting import wait_until
from tests.support.worker import WorkerProcess


@pytest.fixture(params=["redis", "amqp", "laraq-redis", "laraq-db"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, queue_name: str) -> Iterator[Stage]:
    """On the stock brokers and laraq's own; the store is Redis."""
    if request.param == "laraq-db" and "quick_jobs" not in request.node.name:
        full_size_only()
    urls = {"redis": redis_url, "laraq-redis": f"laraq-{redis_url}", "laraq-db": f"laraq-db+sqlite:///{tmp_path}/q.db"}
    url = urls.get(request.param) or request.getfixturevalue("amqp_url")
    stage = Stage(tmp_path, url, redis_url, queue_name)
    yield stage
    stage.close()


PARCELS = """
from laraq import Bus
from laraq_celery.worker import parcels

app.conf.worker_prefetch_multiplier = 32
if "laraq-" in os.environ["BROKER"]: app.conf.broker_transport_options = {"retry_after": 3}
if "laraq-db" in os.environ["BROKER"]: app.conf.broker_transport_options["create_tables"] = True
followers = parcels.Parcels._followers

def noting(self, head, pool):
    found = followers(self, head, pool)
    note("parcel", size=1 + len(found))
    return found

parcels.Parcels._followers = noting

class Does(Job):
    n: int = 0
    what: str = ""
    tries = 1

    def handle(self):
        note("ran", n=self.n)
        if self.what == "sleep": time.sleep(2)
        if self.what == "die" : os.kill(os.getpid(), 9)
        if self.what == "raise": raise ValueError("no")
        if self.what == "release" and self.attempts == 1: self.release()
        if self.what == "wait":
            while not record.exists("go"): time.sleep(0.01)
        note("done", n=self.n)

    def failed(self, error): note("failed", n=self.n, error=type(error).__name__)

class Twice(Does):
    tries = 2

class Limited(Does):
    timeout = 1

def teach(cls=Does):
    "So many that their length is known."
    Bus.bulk(cls(-n) for n in range(1, 101))

def send(*whats, cls=Does):
    Bus.bulk(cls(n, what) for n, what in enumerate(whats))
"""

QUICK = [""] * 20


def sent(what: str, cls: str = "Does") -> str:
    """Twenty quick jobs, one that is different, and twenty more."""
    whats = [*QUICK, what, *QUICK]
    return f"from proj import *; send(*{whats!r}, cls={cls})"


@contextmanager
def taught(stage: Stage, cls: str = "Does", concurrency: int = 1) -> Iterator[tuple[Project, WorkerProcess]]:
    """A worker that knows how long jobs of the class take."""
    project = stage.project(PARCELS)
    project.python(f"from proj import *; teach({cls})")
    with project.worker(concurrency=concurrency) as worker:
        stage.wait_for("done", 100)
        yield project, worker


def test_quick_jobs_travel_together_and_each_runs_once(stage: Stage) -> None:
    project = stage.project(PARCELS)
    project.python("from proj import *; teach(); send(*[''] * 300)")
    with project.worker(concurrency=2):
        stage.wait_for("done", 400)
    assert set(Counter(entry["n"] for entry in stage.noted("ran")).values()) == {1}
    assert max(entry["size"] for entry in stage.noted("parcel")) > 1


def test_nothing_waits_behind_a_slow_job_while_a_process_is_idle(stage: Stage) -> None:
    with taught(stage, concurrency=2) as (project, _):
        project.python(sent("wait"))
        stage.wait_for("done", 140)
        assert not stage.noted("done", n=20)
        stage.record.set("go", 1)
        stage.wait_for("done", n=20)
    assert set(Counter(entry["n"] for entry in stage.noted("ran")).values()) == {1}


def test_a_process_that_dies_takes_only_the_job_it_ran(stage: Stage) -> None:
    with taught(stage) as (project, _):
        project.python(sent("die"))
        stage.wait_for("done", 140)
        (failed,) = stage.wait_for("failed")
    assert (failed["n"], failed["error"]) == (20, "JobLostError")
    assert set(Counter(entry["n"] for entry in stage.noted("ran")).values()) == {1}


@pytest.mark.parametrize("what", ["raise", "release"])
def test_a_job_that_does_not_simply_succeed_ends_as_ever_and_the_others_go_on(stage: Stage, what: str) -> None:
    with taught(stage, "Twice") as (project, _):
        project.python(sent(what, "Twice"))
        stage.wait_for("done", 142 if what == "release" else 140)
        if what == "raise":
            assert stage.wait_for("failed")[0]["n"] == 20
    runs = Counter(entry["n"] for entry in stage.noted("ran"))
    assert runs.pop(20) == 2
    assert set(runs.values()) == {1}


def test_a_timeout_is_that_of_the_running_job(stage: Stage) -> None:
    with taught(stage, "Limited") as (project, _):
        began = time.time()
        project.python(sent("sleep", "Limited"))
        (failed,) = stage.wait_for("failed")
        stage.wait_for("done", 140)
    assert (failed["n"], failed["error"]) == (20, "JobTimedOutError")
    (ran,) = stage.noted("ran", n=20)
    assert 0.5 < failed["time"] - ran["time"] < 2, began


def test_what_waits_in_a_parcel_can_be_seen_and_revoked_and_what_runs_be_terminated(stage: Stage) -> None:
    with taught(stage) as (project, _):
        project.python(sent("wait"))
        stage.wait_for("ran", n=20)
        seen = project.python(
            "from proj import *\n"
            "i = app.control.inspect(timeout=3)\n"
            "(active,) = i.active().values()\n"
            "(reserved,) = i.reserved().values()\n"
            "assert [a['kwargs']['n'] for a in active] == [20], active\n"
            "assert sorted(r['kwargs']['n'] for r in reserved) == list(range(21, 41)), reserved\n"
            "(one,) = [r['id'] for r in reserved if r['kwargs']['n'] == 30]\n"
            "app.control.revoke(one, reply=True)\n"
            "app.control.revoke(active[0]['id'], terminate=True, signal='KILL', reply=True)\n"
            "print('seen')"
        )
        assert "seen" in seen
        stage.wait_for("done", 139)
        wait_until(lambda: len(stage.failed()) == 2 or None, 20, "both are recorded")
    assert not stage.noted("ran", n=30)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_loses_and_repeats_nothing_of_a_parcel(stage: Stage, how: int) -> None:
    with taught(stage) as (project, worker):
        project.python(sent("wait"))
        stage.wait_for("ran", n=20)
        if how == signal.SIGTERM:
            os.kill(worker.pid, how)
            stage.record.set("go", 1)
            worker.wait()
        else:
            worker.kill()
    if how == signal.SIGKILL:
        give_back(stage)
    assert not stage.noted("ran", n=40)
    stage.record.set("go", 1)
    with project.worker(concurrency=1):
        stage.wait_for("done", 141 if how == signal.SIGTERM else 140)
        if how == signal.SIGKILL:
            wait_until(lambda: stage.failed() or None, 60, "the job that was killed has used its only try")
    runs = Counter(entry["n"] for entry in stage.noted("ran"))
    assert set(runs.values()) == {1}, runs
    assert len(runs) == 141


def test_a_process_takes_as_many_jobs_as_it_may(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(PARCELS)
    project.python("from proj import *; teach()")
    with project.worker(args=["--max-tasks-per-child", "10"]):
        stage.wait_for("done", 100)
    assert max(Counter(entry["pid"] for entry in stage.noted("ran")).values()) == 10


def test_listeners_hear_of_each_job(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(
        PARCELS
        + """
from celery import signals
for name in ("task_prerun", "task_postrun", "task_success"):
    getattr(signals, name).connect(lambda sender=None, name=name, **_: note(name), weak=False)
"""
    )
    project.python("from proj import *; teach()")
    with project.worker(concurrency=2):
        for name in ("task_prerun", "task_postrun", "task_success"):
            stage.wait_for(name, 100)


@pytest.mark.parametrize(
    ("options", "listens", "told"),
    [
        ([], False, "Quick jobs reach the processes of the pool several at a time"),
        (["-E"], False, r"Jobs reach the pool one by one: an event of each step is sent \(-E\)"),
        (["--prefetch-multiplier", "1"], False, "Jobs reach the pool one by one: nothing is prefetched"),
        (["--max-tasks-per-child", "5"], False, "Jobs reach the pool one by one: max_tasks_per_child counts them"),
        ([], True, r"Celery's full tracer runs proj.Does, .*: Celery's signals are listened to \(task_prerun\)"),
    ],
)
def test_the_log_of_a_worker_names_the_way_and_what_keeps_jobs_off(
    redis_stage: Stage, options: list[str], listens: bool, told: str
) -> None:
    listening = "from celery import signals\nsignals.task_prerun.connect(lambda **_: None, weak=False)\n"
    project = redis_stage.project(PARCELS + (listening if listens else ""))
    if "--prefetch-multiplier" in options:
        project = redis_stage.project(PARCELS.replace("multiplier = 32", "multiplier = 1"))
        options = []
    with project.worker(args=options) as worker:
        worker.wait_for_log(told)
