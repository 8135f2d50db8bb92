"""What becomes of a job that is revoked or expires: it frees what it held, and is told and recorded, in every case."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from laraq_redis.store.store import RedisStore
from tests.support.project import Project
from tests.support.waiting import wait_until

PROJECT = """
import json, os, time
import redis
from celery import Celery
from laraq import Batch, Bus, Job, Laraq, WithoutOverlapping
from laraq.jobs.job import Job

app = Celery("proj", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.broker_connection_retry_on_startup = True
queue = Laraq(app, store=os.environ["STORE"])
record = redis.Redis.from_url(os.environ["RESULTS"])

def note(what):
    record.rpush("record", what)

class Held(Job):
    name: str
    tries = 3
    timeout = 120
    unique = True
    def unique_id(self):
        return self.name
    def middleware(self):
        return [WithoutOverlapping("door")]
    def handle(self):
        note(f"begin {self.name}")
        record.set(f"id of {self.name}", self.id)
        if self.name.startswith("stubborn"):
            for _ in range(300):
                if record.get("go on"): break
                time.sleep(0.02)
        else:
            time.sleep(60)
        note(f"end {self.name}")
    def failed(self, error):
        note(f"failed {self.name}")

def caught(error):
    note(f"catch {error}")

def over(batch):
    note(f"over {batch.failed_jobs} of {batch.total_jobs}")

def send(name, batched=False):
    "A chain: by itself, and then its first job is unique, or as a job of a batch."
    chain = Bus.chain([Held(name), Held(name + "'s link")]).catch(caught)
    return Bus.batch([chain]).finally_(over).dispatch() if batched else chain.dispatch()

def until(true, what):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)

def running(name):
    "The id of that job, once it runs."
    until(lambda: record.get(f"id of {name}"), f"{name} begins")
    return record.get(f"id of {name}").decode()

def held():
    keys = [key.decode().removeprefix("{laraq}:lock:") for key in queue.store.client.scan_iter("{laraq}:lock:*")]
    keys = [key for key in keys if not key.startswith("laraq:")]  # the worker's own
    return {key for key in keys if queue.store.locks.owner(key) is not None}
"""


class Shop:
    """A project, what it noted, and what its store holds."""

    def __init__(self, folder: Path, broker: str, store: str, results: str) -> None:
        self.project = Project(folder, {"proj.py": PROJECT}, {"BROKER": broker, "STORE": store, "RESULTS": results})
        self.record = redis.Redis.from_url(results)
        self.store = RedisStore.from_url(store)

    def noted(self) -> list[str]:
        return [entry.decode() for entry in self.record.lrange("record", 0, -1)]

    def wait_for(self, note: str, times: int) -> None:
        wait_until(
            lambda: len([one for one in self.noted() if one.startswith(note)]) >= times, 20, f"{note} {times} times"
        )

    def result(self, id: str) -> str:
        return str(json.loads(self.record.get(f"celery-task-meta-{id}") or b"{}").get("status"))


@pytest.fixture
def shop(tmp_path: Path, broker_url: str, redis_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, broker_url, redis_url, redis_url)
    yield shop
    shop.record.close()
    shop.store.close()


@pytest.mark.fault
def test_a_job_that_is_revoked_as_it_runs_frees_what_it_held(shop: Shop) -> None:
    """By every signal that ends its process; and by one that it outlives."""
    signals = ["SIGTERM", "SIGKILL", "SIGQUIT", "SIGHUP", "SIGUSR1"]
    batched = ["SIGKILL", "SIGHUP"]
    with shop.project.worker():
        shop.project.python(
            """
            import sys
            from proj import *
            signals, batched = (text.split() for text in sys.argv[1:])
            for number, name in enumerate(signals, 1):
                send(name, name in batched)
                id = running(name)
                unique = set() if name in batched else {f"unique:proj.Held:{name}"}
                assert held() == {"overlap:proj.Held:door"} | unique
                app.control.revoke(id, terminate=True, signal=name)
                until(lambda: queue.failed.jobs.count() == number, f"{name} is on record")
                until(lambda: not held(), f"{name} frees its locks")
            send("stubborn")
            app.control.revoke(running("stubborn"), terminate=True, signal="SIGINT", reply=True)
            assert len(held()) == 2, "it runs on, and holds on"
            record.set("go on", 1)
            assert running("stubborn's link")
            """,
            " ".join(signals),
            " ".join(batched),
        )
        shop.wait_for("over", len(batched))
        shop.wait_for("catch", len(signals))
    failed = {job.payload["kwargs"]["name"]: job for job in shop.store.failed.all()}
    for name in signals:
        assert f"begin {name}'s link" not in shop.noted()
        if name != "SIGUSR1":  # the signal of Celery's soft time limit: the job hears of it, and fails
            assert f"failed {name}" not in shop.noted(), "somebody decided so, it did not fail"
            assert "was revoked while it ran" in failed[name].exception
            assert shop.result(failed[name].id) == "REVOKED"
    assert {note for note in shop.noted() if note.startswith("over")} == {"over 1 of 2"}


def test_a_job_that_is_revoked_or_expires_before_it_runs_frees_what_it_held(shop: Shop) -> None:
    """By its id, by a stamp, by its expiry, by a revocation that is kept over restarts; in any pool."""
    arguments = ["--statedb", str(shop.project.folder / "state")]
    with shop.project.worker(args=arguments) as worker:
        shop.project.python("""
            from proj import *
            send("blocks")
            blocks = running("blocks")
            by_id, restarted = Held("by id").dispatch().id, Held("restarted").on_queue("other").dispatch().id
            chain = Bus.chain([Held("expired").expires_at(0.01), Held("never")]).catch(caught)
            Bus.batch([chain]).finally_(over).dispatch()
            stamps = {"stamps": {"customer": ["7"]}, "stamped_headers": ["customer"]}
            app.tasks["proj.Held"].apply_async(kwargs={"name": "by stamp"}, headers=stamps)
            app.control.revoke([by_id, restarted], reply=True)
            app.control.revoke_by_stamped_headers({"customer": "7"}, reply=True)
            assert len(held()) == 5
            app.control.revoke(blocks, terminate=True, signal="SIGKILL")
            until(lambda: queue.failed.jobs.count() == 4, "all are on record")
            until(lambda: held() == {"unique:proj.Held:restarted"}, "their locks are free")
        """)
        shop.wait_for("over", 1)
        shop.wait_for("catch", 2)
        assert worker.terminate() == 0
    for number, pool in enumerate(("solo", "threads"), 5):
        with shop.project.worker(pool=pool, queues=["other"], args=arguments):
            wait_until(lambda number=number: shop.store.failed.count() == number, 20, "it is on record")  # type: ignore[misc]  # a default binds the loop's value
        shop.project.python("import proj; proj.Held('late').on_queue('other').expires_at(0.001).dispatch()")
    told = {job.payload["kwargs"]["name"]: job.exception for job in shop.store.failed.all()}
    for name in ("by id", "by stamp", "restarted"):
        assert "was revoked before it started" in told[name]
    for name in ("expired", "late"):
        assert "expired before it started" in told[name]
    assert [note for note in shop.noted() if note.startswith(("begin", "over"))] == ["begin blocks", "over 1 of 2"]
    assert not [note for note in shop.noted() if note.startswith("failed")]
