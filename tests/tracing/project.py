"""The project: one job for each way a message is sent again, told of in `SENT`."""

from __future__ import annotations

from tests.life.conftest import PREAMBLE

PROJECT = (
    "import tracing\n"
    + PREAMBLE
    + """
from celery import chord, current_task
from laraq import Bus
from laraq.middleware import WithoutOverlapping

app.conf.result_backend = os.environ["STORE"]
app.conf.laraq_store_delays_over = 1
app.conf.laraq_keys = ["a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="]

def start(case, attempt):
    headers = current_task.request.headers or {}
    note("start", case=case, attempt=attempt, tenant=headers.get("tenant"), trace=tracing.trace(),
         carried=headers.get(tracing.HEADER))

class Case(Job):
    case: str
    tries = 3

    def act(self):
        pass

    def handle(self):
        start(self.case, self.attempts)
        self.act()

    def failed(self, error):
        note("failed", case=self.case, error=type(error).__name__)

class Fails(Case):
    def act(self):
        raise ValueError("always")

class FailsUntilMended(Case):
    tries = 1

    def act(self):
        if not record.exists("mended"):
            raise ValueError("not mended yet")

class Releases(Case):
    def act(self):
        if self.attempts < 3:
            self.release(0)

class Secret(Releases):
    encrypted = True

class Waits(Case):
    def act(self):
        if self.attempts < 2:
            self.release(1.2)  # in the store

class Retries(Case):
    def act(self):
        if self.attempts < 3:
            current_task.retry(countdown=0)

class RetriesWithHeaders(Case):
    def act(self):
        if self.attempts < 3:
            current_task.retry(countdown=0, headers={"tenant": "x"})

class Dies(Case):
    tries = 1

    def act(self):
        os._exit(1)

class DiesTwice(Dies):
    tries = 2

class Hangs(Case):
    tries = 1
    timeout = 4  # the library's first steps in a process take their time

    def act(self):
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass

class Parks(Case):
    def middleware(self):
        return [WithoutOverlapping("k").shared().park()]

class HandsOn(Case):
    def act(self):
        if self.attempts < 2:
            self.release(0)
        else:
            Releases.apply_async(("handed on",), task_id="handed on", headers=current_task.request.headers)
            fails.apply_async(("handed on to a task",), headers=current_task.request.headers)

@app.task(base=LaraqTask, bind=True, tries=2, max_retries=2)
def retries(self, case):
    start(case, self.request.retries + 1)
    if self.request.retries < 2:
        raise self.retry(countdown=0)

@app.task(base=LaraqTask, bind=True, tries=3)
def fails(self, case):
    start(case, self.request.retries + 1)
    raise ValueError("always")

@app.task(base=LaraqTask, bind=True, tries=2, max_retries=2)
def fails_and_retries(self, case):
    start(case, self.request.retries + 1)
    if self.request.retries == 0:
        raise ValueError("laraq sends it again")
    if self.request.retries == 1:
        raise self.retry(countdown=0)

@app.task(bind=True, max_retries=2)
def ordinary(self, case):
    start(case, self.request.retries + 1)
    if self.request.retries < 2:
        raise self.retry(countdown=0)

@app.task
def ends(case):
    start(case, 1)

def then(batch):
    start("batch, then", 1)

def after_all(batch):
    start("batch of failures, finally", 1)

def caught(error):
    start("chain, caught", 1)

def send():
    mine = {"headers": {"tenant": "x"}}
    crash = {"kind": "lost", "detail": "forged"}
    forged = {"laraq": {"v": 1, "attempts": 7}, "laraq_crash": crash, "laraq_job": "proj.Fails"}
    Fails.dispatch("fails")
    Releases.apply_async(("releases",), **mine)
    Releases.apply_async(("forged",), headers={"headers": {"tenant": "x", **forged}})
    Hangs.dispatch("hangs")
    Secret.dispatch("encrypted")
    Waits.apply_async(("waits",), countdown=1.2, **mine)
    Retries.apply_async(("retries",), **mine)
    RetriesWithHeaders.apply_async(("retries with headers",), **mine)
    Dies.dispatch("dies")
    DiesTwice.dispatch("dies twice")
    Parks.apply_async(("parks",), **mine)
    HandsOn.apply_async(("hands on",), **mine)
    FailsUntilMended.apply_async(("fails until mended",), task_id="mended", **mine)
    retries.apply_async(("task retries",), **mine)
    fails.apply_async(("task fails",), **mine)
    fails_and_retries.apply_async(("task fails and retries",), **mine)
    ordinary.apply_async(("ordinary",), **mine)
    links = [Releases("chain 1"), ordinary.si("chain 2"), retries.si("chain 3"), Retries("chain 4"), Dies("chain 5")]
    Bus.chain(links).catch(caught).dispatch()
    inner = [Releases("batch 4"), ends.si("batch 5")]
    Bus.batch([Releases("batch 1"), ordinary.si("batch 2"), retries.si("batch 3"), inner]).then(then).dispatch()
    Bus.batch([Fails("batch fails"), Dies("batch dies")]).allow_failures().finally_(after_all).dispatch()
    chord([Releases.s("chord 1"), Retries.s("chord 2")])(ends.si("chord, body"))
    (Releases.si("celery 1") | ordinary.si("celery 2") | ends.si("celery 3")).apply_async()
"""
)

#: Unknown to the worker that gets it first.
TOMORROW = """
from proj import *

class New(Case):
    def act(self):
        if self.attempts < 2:
            self.release(0)
"""

#: The starts of each case.
SENT = {
    "fails": [1, 2, 3],
    "releases": [1, 2, 3],
    "forged": [1, 2, 3],
    "encrypted": [1, 2, 3],
    "waits": [1, 2],
    "retries": [1, 2, 3],
    "retries with headers": [1, 2, 3],
    "dies": [1],
    "dies twice": [1, 2],
    "hangs": [1],
    "hands on": [1, 2],
    "handed on": [1, 2, 3],
    "handed on to a task": [1, 2, 3],
    "fails until mended": [1],
    "task retries": [1, 2, 3],
    "task fails": [1, 2, 3],
    "task fails and retries": [1, 2, 3],
    "ordinary": [1, 2, 3],
    "chain 1": [1, 2, 3],
    "chain 2": [1, 2, 3],
    "chain 3": [1, 2, 3],
    "chain 4": [1, 2, 3],
    "chain 5": [1],
    "chain, caught": [1],
    "batch 1": [1, 2, 3],
    "batch 2": [1, 2, 3],
    "batch 3": [1, 2, 3],
    "batch 4": [1, 2, 3],
    "batch 5": [1],
    "batch, then": [1],
    "batch fails": [1, 2, 3],
    "batch dies": [1],
    "batch of failures, finally": [1],
    "chord 1": [1, 2, 3],
    "chord 2": [1, 2, 3],
    "chord, body": [1],
    "celery 1": [1, 2, 3],
    "celery 2": [1, 2, 3],
    "celery 3": [1],
}

#: What follows when the first worker was stopped.
LATER = {"parks": [1], "fails until mended": [1, 1], "new": [1, 2]}

#: Cases sent with a header of the application's own.
WITH_TENANT = {
    "releases", "forged", "waits", "retries", "retries with headers", "parks", "hands on", "handed on",
    "handed on to a task", "fails until mended", "task retries", "task fails", "task fails and retries", "ordinary",
    "new",
}  # fmt: skip

#: Starts by case whose message another process sent than the one that ran the job before: a trace of its own.
TRACED_ANEW = {("parks", 0), ("fails until mended", 1)}

#: The errors of those that fail, in the store.
FAILED = {
    "fails": "ValueError",
    "dies": "JobLostError",
    "dies twice": "JobLostError",
    "hangs": "JobTimedOutError",
    "chain 5": "JobLostError",
    "batch fails": "ValueError",
    "batch dies": "JobLostError",
}
