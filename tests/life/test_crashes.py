"""Children and workers that die: every start is counted, every job ends exactly once."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from kombu import Connection

from tests.life.conftest import Stage
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

DYING = """
class Dies(Job):
    how: str

    tries = 3
    backoff = 0.1
    timeout = 1

    def handle(self):
        note("start", how=self.how, attempt=self.attempts)
        match self.how:
            case "exit": os._exit(1)
            case "kill": os.kill(os.getpid(), signal.SIGKILL)
            case "sys.exit": raise SystemExit(3)
            case "memory": raise MemoryError("too much")
            case "sleep": time.sleep(60)
            case "busy":
                while True:
                    try: time.sleep(60)
                    except Exception: pass

    def failed(self, error):
        note("failed", how=self.how, error=f"{type(error).__name__}: {error}")

class Hangs(Job):
    tries: int = 1

    def handle(self):
        note("start", attempt=self.attempts)
        if self.attempts == 1:
            time.sleep(600)
        note("end")

    def failed(self, error):
        note("failed", error=f"{type(error).__name__}: {error}")

class HangsTwice(Hangs):
    tries = 2
"""

CAUSES = {
    "exit": "JobLostError: proj.Dies was lost in the middle of a run: Worker exited prematurely: exitcode 1",
    "kill": "JobLostError: proj.Dies was lost in the middle of a run: Worker exited prematurely: signal 9",
    "sys.exit": "JobLostError: proj.Dies was lost in the middle of a run: the job called sys.exit(3)",
    "memory": "MemoryError: too much",
    "sleep": "JobTimedOutError: proj.Dies has timed out",
    "busy": "JobTimedOutError: proj.Dies has timed out: not finished after 1 s",
}


def test_a_job_that_kills_or_overruns_its_child_starts_three_times_and_fails_once(stage: Stage) -> None:
    project = stage.project(DYING)
    with project.worker(concurrency=2) as worker:
        project.python(f"import proj; [proj.Dies.dispatch(how) for how in {list(CAUSES)}]")
        stage.wait_for_failed(len(CAUSES), timeout=60)
        stage.wait_for("failed", times=len(CAUSES))
        parent = worker.pid
        assert worker.terminate() == 0
    for how, cause in CAUSES.items():
        assert [note["attempt"] for note in stage.noted("start", how=how)] == [1, 2, 3], how
        [failed] = stage.noted("failed", how=how)
        assert failed["error"].startswith(cause)
        assert failed["pid"] != parent
    records = {record.payload["kwargs"]["how"]: record for record in stage.failed()}
    assert {how: record.attempts for how, record in records.items()} == dict.fromkeys(CAUSES, 3)
    assert all(CAUSES[how] in record.exception for how, record in records.items())


def test_children_that_die_together_start_each_job_as_often_as_it_may_and_no_job_is_forgotten(
    redis_stage: Stage,
) -> None:
    """Celery takes a job for not begun if its child died before it has read that it was (steps/fast_reap.py)."""
    stage = redis_stage
    project = stage.project("""
        from laraq import Bus

        class Dies(Job):
            n: int
            tries = 2
            def handle(self):
                record.rpush("starts", f"{self.id} {self.attempts}")
                os._exit(1)

        Queue.failing(lambda event: record.sadd("failed", event.id))
    """)
    project.python("from proj import *; Bus.bulk([Dies(n) for n in range(60)])")
    with project.worker(concurrency=8):
        wait_until(lambda: stage.record.scard("failed") == 60, 60, "all have failed")
    starts = stage.record.lrange("starts", 0, -1)
    assert len(starts) == len(set(starts)) == 120


@pytest.mark.serial
def test_a_lost_child_is_settled_at_once(redis_stage: Stage) -> None:
    """Stock Celery notices an idle worker's dead child after up to 5 seconds (steps/fast_reap.py)."""
    project = redis_stage.project(DYING)
    with project.worker():
        project.python("import proj; proj.Dies('kill').dispatch()")
        redis_stage.wait_for("failed")
    starts = [note["time"] for note in redis_stage.noted("start")]
    [failed] = redis_stage.noted("failed")
    assert failed["time"] - starts[0] < 6, "three runs, two backoffs of 0.1 s, three new children"


def test_fail_on_timeout_and_max_exceptions_end_a_job_early(redis_stage: Stage) -> None:
    project = redis_stage.project("""
        class Slow(Job):
            tries = 5
            timeout = 1
            fail_on_timeout = True

            def handle(self):
                note("start", job="slow")
                try:
                    time.sleep(60)
                finally:
                    note("finally")

        class Raises(Job):
            tries = 9
            max_exceptions = 2

            def handle(self):
                note("start", job="raises")
                raise ValueError("again")
    """)
    with project.worker(concurrency=2):
        project.python("import proj; proj.Slow.dispatch(); proj.Raises.dispatch()")
        redis_stage.wait_for_failed(2)
    assert len(redis_stage.noted("start", job="slow")) == 1
    assert len(redis_stage.noted("finally")) == 1, "the soft signal lets finally blocks run"
    assert len(redis_stage.noted("start", job="raises")) == 2


def test_an_async_job_is_cancelled_at_its_timeout(redis_stage: Stage) -> None:
    project = redis_stage.project("""
        import asyncio

        class Slow(Job):
            timeout = 1

            async def handle(self):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    note("cancelled")
                    raise
    """)
    with project.worker():
        project.python("import proj; proj.Slow.dispatch()")
        [failed] = redis_stage.wait_for_failed()
    assert len(redis_stage.noted("cancelled")) == 1
    assert "JobTimedOutError" in failed.exception


def test_a_second_worker_runs_a_killed_workers_job_as_attempt_two(stage: Stage) -> None:
    project = stage.project(DYING)
    with project.worker() as first:
        project.python("import proj; proj.HangsTwice.dispatch()")
        stage.wait_for("start")
        first.kill()
    give_back(stage)
    with project.worker():
        stage.wait_for("end")
    assert [note["attempt"] for note in stage.noted("start")] == [1, 2]
    assert stage.failed() == []


def test_with_one_try_a_killed_workers_job_is_failed_and_not_run(stage: Stage) -> None:
    project = stage.project(DYING)
    with project.worker() as first:
        project.python("import proj; proj.Hangs.dispatch()")
        stage.wait_for("start")
        first.kill()
    give_back(stage)
    with project.worker():
        [failed] = stage.wait_for_failed()
    assert len(stage.noted("start")) == 1
    [note] = stage.noted("failed")
    assert note["error"].startswith("MaxAttemptsExceededError")
    assert "the worker died in the middle of its run" in failed.exception


def test_a_message_that_was_only_prefetched_has_used_no_attempt(stage: Stage) -> None:
    project = stage.project(DYING + "\napp.conf.worker_prefetch_multiplier = 4\n")
    with project.worker() as first:
        project.python("import proj; proj.HangsTwice.dispatch(); [proj.Hangs.dispatch() for _ in range(3)]")
        first.wait_for_log(r"Task proj\.Hangs\[.*\] received", times=3)
        stage.wait_for("start")
        first.kill()
    give_back(stage)
    with project.worker(concurrency=4):
        stage.wait_for("end")
        stage.wait_for("start", times=5)
    assert sorted(note["attempt"] for note in stage.noted("start")) == [1, 1, 1, 1, 2]
    assert stage.failed() == []


def test_nothing_is_acknowledged_before_the_run_has_ended(stage: Stage) -> None:
    project = stage.project(DYING)
    with project.worker() as worker:
        project.python("import proj; proj.HangsTwice.dispatch()")
        stage.wait_for("start")
        os.kill(worker.pid, signal.SIGSTOP)
        worker.kill()
    assert unfinished_messages(stage) == 1


def test_solo_and_threads_count_what_killed_the_whole_worker(redis_stage: Stage) -> None:
    project = redis_stage.project(DYING)
    project.python("import proj; proj.Dies('exit').dispatch()")
    for pool in ("solo", "threads", "solo"):
        with project.worker(pool=pool, await_ready=False) as worker:
            worker.wait()
        give_back(redis_stage)
    with project.worker(pool="threads"):
        [failed] = redis_stage.wait_for_failed()
    assert [note["attempt"] for note in redis_stage.noted("start")] == [1, 2, 3]
    assert failed.attempts == 4
    assert "MaxAttemptsExceededError" in failed.exception


def test_a_solo_worker_acknowledges_each_job_before_the_next_one_starts(redis_stage: Stage) -> None:
    """Stock Celery puts the acknowledgement off until the loop turns: the killer would take the finished jobs along."""
    project = redis_stage.project(
        DYING
        + """
class Quick(Job):
    def handle(self):
        note("quick", attempt=self.attempts)

app.conf.worker_prefetch_multiplier = 8
"""
    )
    project.python("import proj; [proj.Quick.dispatch() for _ in range(4)]; proj.Dies('exit').dispatch()")
    with project.worker(pool="solo", await_ready=False) as worker:
        worker.wait()
    assert len(redis_stage.noted("quick")) == 4
    assert redis_stage.record.hlen("unacked") == 1


def give_back(stage: Stage) -> None:
    """Redis keeps a dead worker's messages until the visibility timeout: let it be over."""
    if stage.broker_url.startswith("redis"):
        client = stage.record
        wait_until(lambda: client.ping())
        for tag in client.zrange("unacked_index", 0, -1):
            client.zadd("unacked_index", {tag: 0})


def unfinished_messages(stage: Stage) -> int:
    if stage.broker_url.startswith("redis"):
        return messages_left(stage)
    return wait_until(lambda: messages_left(stage), message="the broker has taken the message back")


def messages_left(stage: Stage) -> int:
    if stage.broker_url.startswith("redis"):
        return int(stage.record.hlen("unacked")) + int(stage.record.llen("celery"))
    with Connection(stage.broker_url) as connection:
        return int(connection.default_channel.queue_declare("celery", passive=True).message_count)


LONG = """
    class Long(Job):
        def handle(self):
            note("start")
            time.sleep(4)
            note("end")

    Queue.after(lambda event: note("processed"))
"""


def test_a_job_runs_once_though_its_broker_connection_is_cut(stage: Stage) -> None:
    """The broker sends the message of a running job again; it is kept for that run (strategy.py)."""
    the_connection_is_cut_during_a_run(stage, stage.project(LONG))


def test_a_job_runs_once_though_its_pool_forgets_it_with_the_connection(stage: Stage) -> None:
    """As Celery's did before 5.6 (steps/keep_results.py)."""
    project = stage.project(
        LONG
        + """
    from celery.concurrency.asynpool import AsynPool

    stock = AsynPool.flush

    def flush(pool):
        stock(pool)
        pool._cache.clear()

    AsynPool.flush = flush
"""
    )
    the_connection_is_cut_during_a_run(stage, project)


def the_connection_is_cut_during_a_run(stage: Stage, project: Project) -> None:
    with project.worker() as worker:
        project.python("import proj; proj.Long.dispatch()")
        stage.wait_for("start")
        cut_connections(stage, worker.pid)
        stage.wait_for("processed")
        project.python("import proj; proj.Long.dispatch()")
        stage.wait_for("processed", times=2)
        assert worker.terminate() == 0
    assert len(stage.noted("start")) == 2
    assert stage.failed() == []
    assert messages_left(stage) == 0


def cut_connections(stage: Stage, pid: int) -> None:
    """Close the broker connections of a worker's parent process, as a network fault does."""
    import socket

    import psutil

    # Duplicates of the sockets, shut down from outside of the process; all of them first, for the first cut that it
    # notices makes it close the others.
    copies = [
        socket.socket(fileno=_descriptor_of(pid, connection.fd))
        for connection in psutil.Process(pid).net_connections(kind="tcp")
        if connection.raddr and connection.raddr.port in (5672, 6379)
    ]
    for copy in copies:
        with copy, contextlib.suppress(OSError):  # closed already, over there
            copy.shutdown(socket.SHUT_RDWR)


def _descriptor_of(pid: int, fd: int) -> int:
    """pidfd_getfd(2): the same open socket as that process has."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(438, os.pidfd_open(pid), fd, 0)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    return int(copy)
