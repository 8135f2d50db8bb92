"""What must hold between eight processes of two workers, on Redis, PostgreSQL and SQLite.

LARAQ_LIMIT_WINDOWS and LARAQ_SIEGE_SECONDS make it longer.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import NamedTuple

import pytest

from tests.middleware.must_hold import STORES, Stage, stage_on, start, start_both
from tests.support.project import Project
from tests.support.waiting import wait_until
from tests.support.worker import WorkerProcess

WINDOWS = int(os.environ.get("LARAQ_LIMIT_WINDOWS", "1"))
SIEGE = float(os.environ.get("LARAQ_SIEGE_SECONDS", "6"))

pytestmark = [pytest.mark.serial, pytest.mark.fault, pytest.mark.timeout(180 + 20 * WINDOWS + 4 * int(SIEGE))]

WINDOW, LIMIT = 10.0, 50


@pytest.fixture(params=STORES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_on(request, request.param) as stage:
        yield stage


LIMITED = f"""
RateLimiter.for_("polled", lambda job: Limit({LIMIT}, {WINDOW}))
RateLimiter.for_("parked", lambda job: Limit({LIMIT}, {WINDOW}))

class Polled(Job):
    tries = 0
    def middleware(self): return [RateLimited("polled")]
    def handle(self): record.rpush("Polled", time.time())

class Parked(Polled):
    def middleware(self): return [RateLimited("parked").park()]
    def handle(self): record.rpush("Parked", time.time())

def send(jobs):
    Bus.bulk([cls() for _ in range(jobs) for cls in (Polled, Parked)])
"""


def test_never_more_than_the_limit_and_nearly_all_of_it(stage: Stage) -> None:
    project = stage.project(LIMITED)
    jobs = (WINDOWS + 2) * LIMIT
    with ExitStack() as stack:
        start_both(project, stack)
        # What was let in at the very end of a window could note its start in the next one.
        wait_until(lambda: time.time() % WINDOW < 0.5 * WINDOW, WINDOW, "there is time left in the window")
        project.python(f"import proj; proj.send({jobs})")
        first = time.time() // WINDOW
        wait_until(lambda: time.time() // WINDOW > first + WINDOWS, (WINDOWS + 2) * WINDOW, "the windows are over")
    for name in ("Polled", "Parked"):
        starts = Counter(float(start) // WINDOW - first for start in stage.record.lrange(name, 0, -1))
        full = [starts[number] for number in range(1, WINDOWS + 1)]
        print(f"{name}: {dict(starts)}")
        assert max(starts.values()) <= LIMIT
        assert min(full) >= 0.95 * LIMIT


OVERLAPPING = """
def look(job, next):
    asked_at = time.time()
    result = next(job)
    if result != "ran":
        record.rpush(f"{type(job).__name__} refused", asked_at)
    return result

class Run(Job):
    n: int
    tries = 0
    def handle(self):
        name = type(self).__name__
        record.rpush(name, f"in {self.id} {os.getpid()} {time.time()}")
        time.sleep(0.02)
        record.rpush(name, f"out {self.id} {os.getpid()} {time.time()}")
        record.sadd(f"{name} done", self.id)
        return "ran"

class Polled(Run):
    def middleware(self):
        return [look, WithoutOverlapping("k").expire_after(3).release_after(0.1).dont_count()]

class Parked(Run):
    def middleware(self): return [look, WithoutOverlapping("k").expire_after(3).park()]

def send(jobs):
    Bus.bulk([cls(n) for n in range(jobs) for cls in (Polled, Parked)])
"""

EXPIRY = 3.0
JOBS = 40 + int(8 * SIEGE)
#: Seconds a loaded machine may take from the end of a run to the end of its lease, and from the question to the answer.
SLACK = 1.0


class Inside(NamedTuple):
    """One run."""

    pid: int
    began: float
    ended: float


class Death(NamedTuple):
    """When a process was killed, as nearly as one can tell."""

    pid: int
    after: float
    before: float


class Siege:
    """Kills children and whole workers, and remembers when."""

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self._project = project
        self._stack = stack
        self._chance = random.Random(5)
        self.killed: list[Death] = []
        self.workers = start_both(project, stack)

    def strike(self) -> None:
        if self._chance.random() < 0.15:
            place = self._chance.randrange(len(self.workers))
            self._kill_worker(self.workers[place])
            self.workers[place] = start(self._project, self._stack)
            return
        children = [pid for worker in self.workers for pid in worker.child_pids()]
        if not children:
            return
        pid, before = self._chance.choice(children), time.time()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.killed.append(Death(pid, before, time.time()))

    def _kill_worker(self, worker: WorkerProcess) -> None:
        before, pids = time.time(), worker.group_pids()
        worker.kill()
        self.killed += [Death(pid, before, time.time()) for pid in pids]


def runs(notes: list[str], killed: list[Death]) -> list[Inside]:
    """Every run, in the order they began; one that was killed ended with its process."""
    found: list[Inside] = []
    open_: dict[tuple[str, str], int] = {}
    for note in notes:
        what, id, pid, moment = note.split()
        if what == "in":
            began = float(moment)
            deaths = [death.after for death in killed if death.pid == int(pid) and death.before >= began]
            open_[id, pid] = len(found)
            found.append(Inside(int(pid), began, max(began, min(deaths)) if deaths else float("inf")))
        else:
            place = open_.pop((id, pid))
            found[place] = found[place]._replace(ended=float(moment))
    return sorted(found, key=lambda run: run.began)


def test_never_two_inside_nor_stuck_while_processes_are_killed(stage: Stage) -> None:
    project = stage.project(OVERLAPPING)
    with ExitStack() as stack:
        siege = Siege(project, stack)
        project.python(f"import proj; proj.send({JOBS})")
        end = time.monotonic() + SIEGE
        while time.monotonic() < end:
            time.sleep(random.uniform(0.2, 0.6))
            siege.strike()
        for name in ("Polled", "Parked"):
            wait_until(lambda name=name: stage.record.scard(f"{name} done") == JOBS, 60, f"every {name} is done")
    for name in ("Polled", "Parked"):
        inside = runs(stage.record.lrange(name, 0, -1), siege.killed)
        pairs = list(pairwise(inside))
        refusals = [float(moment) for moment in stage.record.lrange(f"{name} refused", 0, -1)]
        stuck = [
            (refused - earlier.ended, earlier, later)
            for earlier, later in pairs
            for refused in refusals
            if earlier.ended < refused < later.began
        ]
        longest, *where = max(stuck, default=(0.0,))
        print(f"{name}: {len(inside)} runs of {JOBS} jobs, {len(siege.killed)} killed, stuck {longest:.2f} s at most")
        assert all(later.began >= earlier.ended for earlier, later in pairs)
        assert longest <= EXPIRY + SLACK, f"between {where}; killed were {siege.killed}"
