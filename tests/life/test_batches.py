"""Batches through real workers: members of every kind, callbacks, repair; and counts that hold while workers die."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from kombu import Connection

from laraq_redis import RedisStore
from laraq_sqlalchemy import SqlStore
from tests.life.conftest import Stage
from tests.life.test_crashes import give_back
from tests.life.test_mixed_load import wait_for_a_full_worker
from tests.support.full import full_size_only
from tests.support.waiting import wait_until

LARAQ = str(Path(sys.executable).parent / "laraq")

MEMBERS = """
from laraq import Bus, RateLimited, SkipIfBatchCancelled
app.conf.result_backend = os.environ["STORE"]

class Note(Job):
    what: str
    def handle(self): note(self.what, id=self.id, batch=self.batch().id)

class Boom(Job):
    def handle(self):
        if not record.get("repaired"): raise ValueError("boom")
        note("repaired")

class Careful(Job):
    def middleware(self): return [SkipIfBatchCancelled()]
    def handle(self): note("careful")

class Loader(Job):
    jobs: int
    def handle(self): self.batch().add(Note(f"added {n}") for n in range(self.jobs))

@app.task
def legacy(what): note(what)

@app.task
def broken(): raise KeyError("broken")

@app.task
def told(facts): note("told", batch=facts["id"], progress=facts["progress"])

class Tell(Job):
    def handle(self): note("tell", batch=self.batch().id, finished=self.batch().finished_at is not None)

def then(batch): note("then", progress=batch.progress, total=batch.total_jobs)
def catch(batch, error): note("catch", error=repr(error), failed=batch.failed_jobs)
def finally_(batch): note("finally", done=batch.processed_jobs, failed=batch.failed_jobs, total=batch.total_jobs)
def before(batch): note("before", total=batch.total_jobs)
def progress(batch): note("progress", done=batch.processed_jobs)
def failure(batch, error): note("failure", error=repr(error))
def failing(batch):
    if not record.get("repaired"): raise OSError("the callback failed")
    note("called again", done=batch.processed_jobs)

def sent(*jobs):
    batch = Bus.batch(jobs).name("a batch").then(then).catch(catch).finally_(finally_)
    return batch
"""


def test_members_of_every_kind_are_counted(stage: Stage) -> None:
    project = stage.project(MEMBERS)
    with project.worker(concurrency=2):
        whole = project.python("""
            from proj import *
            links = [Note("first link"), legacy.si("second link"), Note("third link")]
            batch = sent(Note("plain"), legacy.s("task"), links, Loader(30), None).before(before).progress(progress)
            batch = batch.then(Tell()).then(told.s()).dispatch()
            print(json.dumps(batch.wait(30).to_dict()))
        """)
        stage.wait_for("finally")
        stage.wait_for("told")
        stage.wait_for("tell")
        stage.wait_for("progress", times=36)
    batch = json.loads(whole)
    assert (batch["total_jobs"], batch["processed_jobs"], batch["pending_jobs"], batch["progress"]) == (36, 36, 0, 100)
    noted = [entry["what"] for entry in stage.noted()]
    links = [what for what in noted if what.endswith("link")]
    assert links == ["first link", "second link", "third link"]
    assert sorted(what for what in noted if what.startswith("added")) == sorted(f"added {n}" for n in range(30))
    assert noted.count("before") == noted.count("then") == noted.count("finally") == noted.count("told") == 1
    assert noted.count("progress") == 36
    assert stage.noted("told")[0]["progress"] == 100
    assert stage.noted("finally")[0]["done"] == 36


@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize("failing", ["Boom()", "broken.si()"])
def test_the_first_failure_cancels_and_the_rest_is_still_accounted_for(
    redis_stage: Stage, position: int, failing: str
) -> None:
    stage = redis_stage
    project = stage.project(MEMBERS)
    jobs = ['Note("one")', "Careful()", 'Note("two")', "Careful()"]
    jobs.insert(position, failing)
    with project.worker():
        project.python(f"from proj import *; sent({', '.join(jobs)}).dispatch()")
        stage.wait_for("finally")
    noted = [entry["what"] for entry in stage.noted()]
    assert "then" not in noted
    assert (noted.count("catch"), noted.count("finally")) == (1, 1)
    assert {"one", "two"} <= set(noted), "cancelling stops only jobs that look"
    assert noted.count("careful") == [name for name in jobs[:position] if name == "Careful()"].count("Careful()")
    (end,) = stage.noted("finally")
    assert (end["done"], end["failed"], end["total"]) == (4, 1, 5)


def test_allowed_failures_are_told_one_by_one(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(MEMBERS)
    with project.worker():
        project.python("""
            from proj import *
            batch = sent(Note("one"), Boom(), [broken.si(), Note("never")], Careful()).allow_failures([failure])
            batch.dispatch()
        """)
        stage.wait_for("finally")
        stage.wait_for("failure", times=2)
    (end,) = stage.noted("finally")
    assert (end["done"], end["failed"], end["total"]) == (2, 2, 5), "one will never run, for its chain broke"
    assert len(stage.noted("catch")) == 1
    assert len(stage.noted("careful")) == 1, "it was not cancelled"
    assert not stage.noted("never")


def test_a_repaired_batch_calls_then_after_all(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(MEMBERS)
    with project.worker():
        id = project.python(
            "from proj import *; print(sent(Note('one'), Boom(), Boom()).dispatch().wait(30).id)"
        ).strip()
        stage.record.set("repaired", 1)
        stage.wait_for_failed(2)
        assert "2 failed jobs" in project.run([LARAQ, "-A", "proj", "retry-batch", id])
        stage.wait_for("then")
    (after,) = stage.noted("then")
    assert (after["progress"], after["total"]) == (100, 3)
    assert len(stage.noted("finally")) == 1
    assert stage.failed() == []


def test_a_callback_that_fails_can_be_retried(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(MEMBERS)
    with project.worker():
        project.python("from proj import *; Bus.batch([Note('one')]).then(failing).finally_(finally_).dispatch()")
        (failed,) = stage.wait_for_failed()
        stage.wait_for("finally")
        stage.record.set("repaired", 1)
        project.run([LARAQ, "-A", "proj", "retry", failed.id])
        (again,) = stage.wait_for("called again")
    assert again["done"] == 1


def test_a_member_that_expired_does_not_hang_its_batch(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(MEMBERS)
    project.python("""
        from proj import *
        sent(Note("one"), Note("too late").expires_at(0.1), legacy.s("too late").set(expires=0.1)).dispatch()
        time.sleep(0.2)
    """)
    with project.worker():
        (end,) = stage.wait_for("finally")
    assert (end["done"], end["failed"], end["total"]) == (1, 2, 3)
    assert not stage.noted("too late")


def test_a_batch_whose_sender_died_in_the_middle_ends_cancelled(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(
        MEMBERS + "from laraq.workflow import batch_service as batches\nbatches.LOAD_SECONDS = 0.5\n"
    )
    project.python("""
        from proj import *
        def jobs():
            for n in range(1000): yield Note(f"job {n}")
            os._exit(0)
        from laraq.workflow import batch_service as batches
        sent(*()).add(jobs()).dispatch()
    """)
    with project.worker() as worker:
        worker.wait_for_log("is cancelled: the process that was sending its jobs died")
        stage.wait_for("finally", timeout=40)
    assert not stage.noted("then")


KILLED = """
from laraq import Bus
# With one job prefetched each child tells its batch itself, with more the parent tells of several at once.
app.conf.worker_prefetch_multiplier = int(os.environ["PREFETCHED"])
app.conf.broker_transport_options = {
    "visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
} if os.environ["BROKER"].startswith("redis") else {}
app.laraq._given["batches"] = os.environ["BATCHES"]

class Mixed(Job):
    kind: str

    tries = 4
    backoff = 0.05

    def handle(self):
        record.rpush("starts", self.id)
        match self.kind:
            # Longer where much is prefetched: the worker must come to hold all it may.
            case "slow": time.sleep(0.06 if os.environ["PREFETCHED"] == "1" else 0.15)
            case "retry" if self.attempts < 2: raise ValueError("once more")
            case "raise": raise ValueError("always")
            case "crash" if self.attempts < 2: os._exit(1)
        record.sadd("done", self.id)

class Loader(Job):
    kinds: list[str]
    tries = 4
    def handle(self):
        self.batch().add(Mixed(kind) for kind in self.kinds)
        record.sadd("done", self.id)
        record.set("loaded", 1)

Queue.failing(lambda event: record.sadd("failed", event.id))

def note_callback(what):
    record.rpush("callbacks", what)

def then(batch): note_callback("then")
def catch(batch, error): note_callback("catch")
def finally_(batch): note_callback("finally")
"""

JOBS = int(os.environ.get("LARAQ_BATCH_JOBS", "1000"))
KILLS = int(os.environ.get("LARAQ_BATCH_KILLS", "2"))


@pytest.mark.serial
@pytest.mark.fault
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("database", "prefetched"), [("postgres", 1), ("sqlite", 1), ("redis", 1), ("postgres", 8), ("redis", 8)]
)
def test_counts_hold_while_children_and_workers_die(
    stage: Stage, database: str, prefetched: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage.broker_url.startswith("amqp") and (database, prefetched) not in (("postgres", 1), ("redis", 8)):
        full_size_only()
    url = request.getfixturevalue(f"{database}_url")
    monkeypatch.setenv("BATCHES", url)
    monkeypatch.setenv("PREFETCHED", str(prefetched))
    store = (RedisStore if database == "redis" else SqlStore).from_url(url)
    store.migrate()
    chance = random.Random(11)
    project = stage.project(KILLED)
    batch_id, *twice = project.python(f"""
        from proj import *
        import random
        names, weights = ["plain", "slow", "retry", "raise", "crash"], [50, 40, 6, 3, 1]
        kinds = random.Random(11).choices(names, weights, k={JOBS})
        jobs = [Mixed(kind) for kind in kinds[: {JOBS} // 2]]
        batch = Bus.batch([Loader(kinds[{JOBS} // 2 :])]).add(jobs).then(then).catch(catch).finally_(finally_)
        batch = batch.allow_failures().dispatch()
        # Some messages come twice.
        from laraq.messages.payload import Payload
        twice = list(queue.batches.store.jobs(batch.id, "pending"))[1:41:2]
        for id in twice:
            header = {{"v": 1, "batch_id": batch.id}}
            queue.dispatcher.resend(Payload.from_header(id, "proj.Mixed", {{"kind": "plain"}}, (), header))
        print(batch.id, *twice)
    """, timeout=200).split()  # fmt: skip
    total = JOBS + 1
    counts = store.batches
    try:
        with ExitStack() as workers:
            for _ in range(KILLS):
                worker = workers.enter_context(project.worker(concurrency=4))
                # A second start of the loader would add all of them again.
                wait_until(lambda: stage.record.exists("loaded"), 30, "the rest was added")
                for _ in range(3):
                    time.sleep(chance.uniform(0.2, 0.8))
                    with suppress(IndexError, ProcessLookupError):
                        os.kill(chance.choice(worker.child_pids()), signal.SIGKILL)
                wait_for_a_full_worker(stage, worker, 4 * prefetched)
                worker.kill()
                give_back(stage)
            workers.enter_context(project.worker(concurrency=4))
            wait_until(lambda: counts.find(batch_id).finished_at is not None, 1200, "the batch finished")  # type: ignore[union-attr] # it is there
            wait_until(lambda: b"finally" in stage.record.lrange("callbacks", 0, -1), 30, "finally_ was called")
            wait_until(lambda: unfinished(stage) == 0, 30, "no message is left")
        record = counts.find(batch_id)
        assert record is not None
        done = {id.decode() for id in stage.record.smembers("done")}
        failed_for_good = {failed.id for failed in stage.failed() if failed.batch_id == batch_id}
        failed = set(counts.jobs(batch_id, "failed"))  # type: ignore[arg-type] # as text
        assert record.total == total
        assert record.done + record.failed == total
        # Where two messages have other fields, one may fail, and the other may have begun and be killed after that.
        # And one that is killed in its last line has noted that it is done, and has failed.
        assert failed - done - {*twice} == failed_for_good - done - {*twice}
        assert failed <= failed_for_good
        assert record.done == len(done & set(counts.jobs(batch_id, "done")))  # type: ignore[arg-type]
        callbacks = sorted(one.decode() for one in stage.record.lrange("callbacks", 0, -1))
        assert callbacks == ["catch", "finally"]
    finally:
        store.close()


def unfinished(stage: Stage) -> int:
    """Messages that are with the broker."""
    if stage.broker_url.startswith("redis"):
        return int(stage.record.hlen("unacked")) + int(stage.record.llen("celery"))
    with Connection(stage.broker_url) as connection:
        return int(connection.default_channel.queue_declare("celery", passive=True).message_count)
