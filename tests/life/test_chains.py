"""Chains through real workers: links of every kind, callbacks, retries, and what a kill must not break."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.life.conftest import Stage
from tests.life.test_crashes import give_back
from tests.support.waiting import wait_until

LINKS = """
app.conf.result_backend = os.environ["STORE"]

class Note(Job):
    what: str
    def handle(self): note(self.what, id=self.id)

class Boom(Job):
    def handle(self):
        if not record.get("repaired"): raise ValueError("boom")
        note("repaired")

@app.task
def legacy(what):
    request = app.current_task.request
    note(what, parent=request.parent_id, root=request.root_id)

@app.task(bind=True, ignore_result=True)
def again(self, what):
    if not self.request.retries: raise self.retry(countdown=0, headers={"tenant": "x"})
    note(what, tenant=self.request.headers["tenant"])

@app.task
def broken(): raise KeyError("broken")

@app.task(base=LaraqTask, tries=2)
def modern(what): note(what)

def catch(error): note("catch", error=repr(error), of=current_job().display_name)
def failing(error): raise OSError("the callback failed")

def sent(*jobs, **options):
    from laraq import Bus
    chain = Bus.chain(jobs)
    for callback in options.get("catch", ()): chain.catch(callback)
    return chain.dispatch()
"""


def order(stage: Stage) -> list[str]:
    return [entry["what"] for entry in stage.noted()]


def test_links_of_every_kind_run_in_their_order(stage: Stage) -> None:
    project = stage.project(LINKS)
    with project.worker(concurrency=2):
        head = project.python("""
            from proj import *
            from laraq import Bus
            with_batch = Bus.batch([Note("in the batch"), legacy.si("task in the batch")])
            print(sent(Note("first"), legacy.si("task"), modern.s("opted in"), with_batch, Note("last")).id)
        """).strip()
        stage.wait_for("last")
    noted = order(stage)
    assert noted[:3] == ["first", "task", "opted in"]
    assert set(noted[3:5]) == {"in the batch", "task in the batch"}
    assert noted[5:] == ["last"]
    assert [entry["root"] for entry in stage.noted("task")] == [head]
    assert [entry["parent"] for entry in stage.noted("task")] == [head], "Celery's tools see one family"
    assert [entry["root"] for entry in stage.noted("task in the batch")] == [head], "behind an ordinary task, too"


def test_a_task_that_is_retried_with_headers_of_its_own_stays_a_link_and_a_member(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(LINKS)
    with project.worker(concurrency=2):
        project.python("""
            from proj import *
            from laraq import Bus
            sent(again.si("link"), Bus.batch([again.si("member")]).then(Note("then")), Note("last"))
        """)
        stage.wait_for("then")
        stage.wait_for("last")
    assert [note["tenant"] for note in stage.noted() if note["what"] in ("link", "member")] == ["x", "x"]


@pytest.mark.parametrize(("jobs", "ran", "error"), [
    ('Boom(), Note("second"), Note("third")', [], "ValueError('boom')"),
    ('Note("first"), Boom(), Note("third")', ["first"], "ValueError('boom')"),
    ('Note("first"), Note("second"), Boom()', ["first", "second"], "ValueError('boom')"),
    ('Note("first"), broken.si(), Note("third")', ["first"], "KeyError('broken')"),
])  # fmt: skip
def test_a_failed_link_stops_the_chain_and_is_caught_once(
    redis_stage: Stage, jobs: str, ran: list[str], error: str
) -> None:
    stage = redis_stage
    project = stage.project(LINKS)
    with project.worker():
        project.python(f"from proj import *; sent({jobs}, catch=[catch]); sent(Note('end'))")
        stage.wait_for("end")
        (caught,) = stage.wait_for("catch")
    assert [what for what in order(stage) if what not in ("end", "catch")] == ran
    assert caught["error"] == error


def test_a_retried_link_resumes_its_chain(stage: Stage) -> None:
    project = stage.project(LINKS)
    with project.worker():
        project.python("from proj import *; sent(Note('first'), Boom(), Note('last'), catch=[catch])")
        (failed,) = stage.wait_for_failed()
        stage.wait_for("catch")
        stage.record.set("repaired", 1)
        project.python(f"import proj; from laraq import Failed; assert Failed.retry({failed.id!r})")
        stage.wait_for("last")
    assert order(stage) == ["first", "catch", "repaired", "last"]


def test_a_callback_that_fails_is_a_failed_job_of_its_own(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(LINKS)
    with project.worker():
        project.python("from proj import *; sent(Boom(), catch=[failing, catch])")
        failed = stage.wait_for_failed(2)
        stage.wait_for("catch")
    assert {"the callback failed" in one.exception for one in failed} == {True, False}


def test_a_jobs_signature_is_part_of_celerys_own_canvas(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(
        LINKS
        + """
class Double(Job):
    number: int
    def handle(self): return 2 * self.number

@app.task
def total(numbers): return sum(numbers)
"""
    )
    with project.worker(concurrency=2):
        answers = project.python("""
            from proj import *
            from celery import chain, chord, group
            print(chain(Double.s(2), Double.s(), Double.s())().get(timeout=20))
            print(group(Double.s(n) for n in range(4))().get(timeout=20))
            print(chord([Double.s(n) for n in range(4)], total.s())().get(timeout=20))
        """)
    assert answers.split("\n")[:3] == ["16", "[0, 2, 4, 6]", "12"]


def test_a_link_that_expired_stops_the_chain(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(LINKS)
    project.python("from proj import *; sent(Note('head').expires_at(0.1), Note('never'), catch=[catch])")
    wait_until(lambda: stage.record.llen("celery") == 1)
    with project.worker():
        (caught,) = stage.wait_for("catch")
    assert "expired" in caught["error"]
    assert order(stage) == ["catch"]


KILLED = """
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_transport_options = {
    "visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
} if os.environ["BROKER"].startswith("redis") else {}

class Link(Job):
    number: int
    tries = 3

    def handle(self):
        record.rpush("starts", self.number)
        if record.set(f"running:{self.number}", os.getpid(), nx=True, ex=30) is None:
            record.rpush("concurrent", self.number)
        if self.number % 10 == 9 and self.attempts == 1:
            record.set("at", self.number)
            record.blpop("never", 30)  # waits to be killed
        record.delete(f"running:{self.number}")
        record.rpush("ended", self.number)

def catch(error): note("catch", error=repr(error))
"""

LENGTH = int(os.environ.get("LARAQ_CHAIN_LINKS", "60"))


@pytest.mark.serial
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_chain_survives_a_kill_at_each_tenth_link(stage: Stage) -> None:
    project = stage.project(KILLED)
    chain = f"Bus.chain([Link(n) for n in range({LENGTH})])"
    project.python(f"from proj import *; from laraq import Bus; {chain}.catch(catch).dispatch()")
    record = stage.record
    for stop in range(9, LENGTH, 10):
        with project.worker(concurrency=2) as worker:
            wait_until(lambda stop=stop: record.get("at") == str(stop).encode(), 60, f"link {stop} runs")
            worker.kill()
        record.delete(f"running:{stop}")  # its holder is dead
        give_back(stage)
    with project.worker(concurrency=2):
        wait_until(lambda: record.lrange("ended", -1, -1) == [str(LENGTH - 1).encode()], 60, "the last link ended")
    ended = [int(number) for number in record.lrange("ended", 0, -1)]
    assert ended == list(range(LENGTH)), "each link ended once, after the one before it"
    starts = Counter(int(number) for number in record.lrange("starts", 0, -1))
    assert {number: count for number, count in starts.items() if count > 1} == dict.fromkeys(range(9, LENGTH, 10), 2)
    assert record.llen("concurrent") == 0
    assert not stage.noted("catch")
    assert not stage.failed()
