"""Whole workers on stock Redis and RabbitMQ: long jobs run once, dead workers' jobs come back, delays are kept."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from celery import Celery

from laraq import Laraq
from laraq.ports import DelayedMessage
from laraq_celery.stock.delays import Delays
from tests.life.conftest import Stage

JOBS = """
app.conf.laraq_store_delays_over = 1
if app.conf.broker_url.startswith("redis"):
    app.conf.broker_transport_options = {"visibility_timeout": 3}

class Long(Job):
    seconds: float
    tries = 9
    def handle(self):
        note("start", queue=current_job().queue)
        time.sleep(self.seconds)
        note("end")

class Quick(Job):
    name: str
    due: float
    def handle(self):
        note("start", name=self.name, late=time.time() - self.due)

class Releases(Job):
    tries = 3
    def handle(self):
        note("start", name="releases", attempt=self.attempts)
        if self.attempts == 1:
            self.release(2)
"""

LEASE = 3


@pytest.mark.fault
def test_a_job_three_times_as_long_as_the_visibility_timeout_runs_once(redis_stage: Stage) -> None:
    project = redis_stage.project(JOBS)
    pools = ("prefork", "solo", "threads")
    with ExitStack() as stack:
        for pool in pools:
            stack.enter_context(project.worker(pool=pool, queues=[pool], await_ready=False))
        project.python(f"import proj; [proj.Long({3 * LEASE}).on_queue(q).dispatch() for q in {pools}]")
        redis_stage.wait_for("start", times=3, timeout=60)
        # It would take whatever comes back to a queue.
        stack.enter_context(project.worker(pool="solo", queues=pools))
        redis_stage.wait_for("end", times=3)
    assert len(redis_stage.noted("start")) == 3


@pytest.mark.fault
def test_what_a_dead_worker_held_starts_again_seconds_after_the_visibility_timeout(redis_stage: Stage) -> None:
    project = redis_stage.project(JOBS)
    with project.worker(pool="solo") as dead:
        dead.wait_for_log(r"leases of 3 s are renewed .*, and messages of dead workers are looked for")
        project.python("import proj; proj.Long(600).dispatch()")
        redis_stage.wait_for("start")
        with project.worker(pool="prefork"):
            dead.kill()
            killed_at = time.time()
            starts = redis_stage.wait_for("start", times=2)
    assert starts[1]["time"] - killed_at < LEASE + 5


def test_every_long_delay_is_waited_for_in_the_store(stage: Stage) -> None:
    project = stage.project(JOBS)
    with project.worker(pool="solo") as worker:
        worker.wait_for_log(r"jobs delayed by more than 1 s wait in the store")
        project.python("""
            import proj, time
            from datetime import datetime, timedelta, timezone
            at = time.time() + 3
            proj.Quick("dispatch", at).with_delay(3).dispatch()
            proj.Quick.apply_async(("countdown", at), countdown=3)
            proj.Quick.apply_async(("eta", at), eta=datetime.fromtimestamp(at, timezone.utc))
            proj.Releases.dispatch()
        """)
        stage.wait_for("start", times=5)
        assert worker.terminate() == 0
    releases = stage.noted("start", name="releases")
    assert [note["attempt"] for note in releases] == [1, 2]
    assert 2 <= releases[1]["time"] - releases[0]["time"] < 4
    late = {note["name"]: note["late"] for note in stage.noted("start") if "late" in note}
    assert late.keys() == {"dispatch", "countdown", "eta"}
    assert all(-0.05 <= seconds < 2 for seconds in late.values()), late
    assert "ETA" not in worker.log, "Celery would log the time up to which it holds a message"


def test_of_three_workers_one_moves_each_job(redis_stage: Stage) -> None:
    """The store is in the broker: messages pass atomically from one to the other."""
    project = redis_stage.project(JOBS)
    jobs = 600
    with ExitStack() as stack:
        workers = [stack.enter_context(project.worker(pool="solo", await_ready=False)) for _ in range(3)]
        for worker in workers:
            worker.wait_for_log(r"wait in the store \(in the same Redis, moved atomically\)", timeout=60)
        project.python(f"""
            import proj, time
            from laraq import Bus
            now = time.time()
            delays = [3 + n / 300 for n in range({jobs})]
            Bus.bulk([proj.Quick(str(n), now + delay).with_delay(delay) for n, delay in enumerate(delays)])
        """)
        redis_stage.wait_for("start", times=jobs, timeout=60)
        for worker in workers:
            assert worker.terminate() == 0
    names = [note["name"] for note in redis_stage.noted("start")]
    assert len(names) == len(set(names)) == jobs
    redis_stage.record.delete("record")
    assert not [key for key in redis_stage.record.scan_iter() if b"delayed:" in key or key == b"celery"]


@pytest.mark.fault
def test_a_worker_killed_between_publishing_and_forgetting_has_the_job_run_once(
    tmp_path: Path, amqp_url: str, redis_url: str, sqlite_url: str, queue_name: str
) -> None:
    stage = Stage(tmp_path, amqp_url, redis_url, queue_name)
    project = stage.project(
        JOBS
        + f"""
from laraq_celery.stock.delays import mover
from laraq_sqlalchemy.store.delayed import SqlDelayed
mover.HIDDEN = 2
app.conf.laraq_store = {sqlite_url!r}
queue._given["store"] = None
if "DIES" in os.environ:
    SqlDelayed.forget = lambda self, broker, ids: os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    with project.worker(pool="solo", queues=["elsewhere"], env={"DIES": "1"}) as dies:
        project.python("import proj, time; proj.Quick('twice', time.time() + 2).with_delay(2).dispatch()")
        assert dies.wait() == -signal.SIGKILL
    with project.worker(pool="solo") as worker:
        stage.wait_for("start")
        worker.wait_for_log("start 1 belongs to another message of it")
    assert len(stage.noted("start")) == 1
    stage.close()


@pytest.mark.serial
def test_a_hundred_thousand_delayed_jobs_take_no_memory_of_the_worker(redis_stage: Stage) -> None:
    project = redis_stage.project(JOBS)
    app = Celery("proj", broker=redis_stage.broker_url, set_as_current=False)
    laraq = Laraq(app, store=redis_stage.store)
    delays: Delays = laraq.connection().delays  # type: ignore[attr-defined]  # a CeleryQueue
    with project.worker(pool="solo") as worker:
        one = "import proj, time; proj.Quick('one', time.time() + 1.5).with_delay(1.5).dispatch()"
        project.python(one)
        redis_stage.wait_for("start")
        before = psutil.Process(worker.pid).memory_info().rss
        body = "x" * 1000
        redis_stage.store.delayed.put(
            delays.broker, [(DelayedMessage(str(n), "celery", body), 3600 + n) for n in range(100_000)]
        )
        project.python(one)
        redis_stage.wait_for("start", times=2)
        after = psutil.Process(worker.pid).memory_info().rss
    assert delays.count("celery") == 100_000
    assert after - before < 5_000_000
    app.close()


def test_what_a_worker_cannot_bring_is_said(redis_stage: Stage) -> None:
    project = redis_stage.project("""
        queue._given["store"] = "memory://"
        app.conf.broker_transport_options = {"ack_emulation": False}
    """)
    with project.worker(pool="solo") as worker:
        worker.wait_for_log(r"leases are not renewed \(the transport option ack_emulation is off")
        worker.wait_for_log(r"delayed jobs wait in workers \(no store shared by all processes is configured")
    assert len([line for line in worker.log.splitlines() if "leases" in line]) == 1


def test_laraq_retry_after_is_the_visibility_timeout_of_workers(redis_stage: Stage) -> None:
    project = redis_stage.project("app.conf.laraq_retry_after = 45")
    with project.worker(pool="solo") as worker:
        worker.wait_for_log(r"leases of 45 s are renewed")
