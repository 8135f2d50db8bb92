"""What must hold between eight processes of two workers, on Redis, PostgreSQL and SQLite.

LARAQ_LIMIT_WINDOW (seconds), LARAQ_LIMIT_WINDOWS and LARAQ_SIEGE_SECONDS make it longer.
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

from tests.middleware.must_hold import CHILDREN, STORES, WORKERS, Stage, is_ready, stage_on, start, start_both
from tests.support.project import Project
from tests.support.waiting import wait_until
from tests.support.worker import WorkerProcess

WINDOWS = int(os.environ.get("LARAQ_LIMIT_WINDOWS", "1"))
SIEGE = float(os.environ.get("LARAQ_SIEGE_SECONDS", "4"))

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180 + 20 * WINDOWS + 4 * int(SIEGE))]

WINDOW, LIMIT = float(os.environ.get("LARAQ_LIMIT_WINDOW", "5")), 50


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
        # A child may note the start it was let in for only in the next window; it never notes one early.
        assert max(starts.values()) <= LIMIT + WORKERS * CHILDREN
        for window in sorted(starts):
            assert sum(starts[earlier] for earlier in starts if earlier <= window) <= (window - min(starts) + 1) * LIMIT
        assert min(full) >= 0.95 * LIMIT


OVERLAPPING = """
def look(job, next):
    asked_at = time.time()
    result = next(job)
    if result != "ran":
        name = type(job).__name__
        record.rpush(f"{name} refused", f"{asked_at} {queue.store.locks.owner(f'overlap:{name}')}")
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
        return [look, WithoutOverlapping("Polled").shared().expire_after(3).release_after(0.1).dont_count()]

class Parked(Run):
    def middleware(self): return [look, WithoutOverlapping("Parked").shared().expire_after(3).park()]

def send(jobs):
    Bus.bulk([cls(n) for n in range(jobs) for cls in (Polled, Parked)])
"""

EXPIRY = 3.0
JOBS = 40 + int(8 * SIEGE)
#: Seconds that pass between the question of who was refused and its answer, on a loaded machine.
SLACK = 1.0


class Inside(NamedTuple):
    """One run."""

    id: str
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

    def supervise(self) -> int:
        """Start workers again that ended: Celery's do when their children are killed while they start."""
        for place, worker in enumerate(self.workers):
            if not worker.group_pids():
                self.workers[place] = start(self._project, self._stack)
        return JOBS

    def strike(self) -> None:
        self.supervise()
        if self._chance.random() < 0.15 and all(is_ready(worker) for worker in self.workers):
            place = self._chance.randrange(len(self.workers))
            self._kill_worker(self.workers[place])
            self.workers[place] = start(self._project, self._stack)
            return
        children = [pid for worker in self.workers for pid in worker.group_pids() if pid != worker.pid]
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
            found.append(Inside(id, int(pid), began, max(began, min(deaths)) if deaths else float("inf")))
        else:
            place = open_.pop((id, pid))
            found[place] = found[place]._replace(ended=float(moment))
    return sorted(found, key=lambda run: run.began)


@pytest.mark.serial
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
            wait_until(
                lambda name=name: siege.supervise() == stage.record.scard(f"{name} done"), 60, f"{name} are done"
            )
    for name in ("Polled", "Parked"):
        inside = runs(stage.record.lrange(name, 0, -1), siege.killed)
        pairs = list(pairwise(inside))
        longest = longest_lease(stage.record.lrange(f"{name} refused", 0, -1), inside)
        print(f"{name}: {len(inside)} runs of {JOBS} jobs, {len(siege.killed)} killed, held {longest:.2f} s at most")
        assert all(later.began >= earlier.ended for earlier, later in pairs)
        assert longest <= EXPIRY + SLACK


def longest_lease(refusals: list[str], inside: list[Inside]) -> float:
    """How long others were refused because of one owner that did not start again in between.

    Who was killed on the way from the lock to its note held it as well: the runs alone do not show that.
    """
    longest, since, holder = 0.0, 0.0, ""
    for refusal in sorted(refusals):
        asked_at, owner = refusal.split()
        started_again = any(run.id == owner and since < run.began < float(asked_at) for run in inside)
        if owner != holder or started_again:
            since, holder = float(asked_at), owner
        longest = max(longest, float(asked_at) - since)
    return longest
