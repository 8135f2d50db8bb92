"""Delayed jobs start when they are due, by the clock of the server."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from tests.sqlalchemy.broker.celery_app import DatabaseProject
from tests.support.waiting import wait_until

pytestmark = pytest.mark.serial

#: Jobs that come due within four seconds: the transport is asked to bear 1,000.
JOBS = int(os.environ.get("LARAQ_DELAYED_JOBS", "200"))

#: Each is told when it is due; the first one once all have been sent.
SEND = """
    import random, sys, time
    from datetime import UTC, datetime
    import proj

    proj.add.delay(1, 1)  # connects, which takes a server 50 ms
    chance, count = random.Random(5), int(sys.argv[1])
    first = time.time() + 2 + count / 100
    with proj.app.producer_or_acquire() as producer:
        for _ in range(count):
            due = first + chance.uniform(0, 4)
            proj.note.apply_async((due,), eta=datetime.fromtimestamp(due, UTC), producer=producer)
    assert time.time() < first
"""

#: Makes a process live in another time. libfaketime would be the honest tool; this reaches what Python code asks.
SITECUSTOMIZE = """
    import os, time, datetime

    shift = float(os.environ.get("SHIFT", "0"))
    if shift:
        real_time, real_ns, real = time.time, time.time_ns, datetime.datetime

        class Any(type):
            def __instancecheck__(cls, instance):
                return isinstance(instance, real)

        class Shifted(real, metaclass=Any):
            @classmethod
            def now(cls, tz=None):
                return real.now(tz) + datetime.timedelta(seconds=shift)

            @classmethod
            def utcnow(cls):
                return real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=shift)

        time.time = lambda: real_time() + shift
        time.time_ns = lambda: real_ns() + int(shift * 1e9)
        datetime.datetime = Shifted
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mariadb"])
def test_jobs_start_when_they_are_due(tmp_path: Path, request: pytest.FixtureRequest, database: str) -> None:
    poll = {"poll": None} if database == "mariadb" else {}
    project = DatabaseProject(tmp_path, request.getfixturevalue(f"{database}_url"), **poll)
    with project.worker(concurrency=2):
        project.python(SEND, str(JOBS))
        wait_until(lambda: len(project.marks("start")) == JOBS, timeout=30 + JOBS / 100)
    late = sorted(mark["at"] - mark["start"] for mark in project.marks("start"))
    p50, p99 = late[JOBS // 2], late[JOBS * 99 // 100]
    print(f"start after due time, ms: p50 {p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f}, max {late[-1] * 1e3:.1f}")
    assert late[0] > -0.002  # a millisecond is what the table knows
    assert p50 < 0.05
    assert late[-1] < 1


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_the_clocks_of_producers_and_workers_do_not_matter(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    poll = {"poll": None} if database == "mariadb" else {}
    project = DatabaseProject(tmp_path, request.getfixturevalue(f"{database}_url"), **poll)
    (project.folder / "sitecustomize.py").write_text(dedent(SITECUSTOMIZE))
    ahead, behind = ({"SHIFT": shift, "LARAQ_TEST_EXEC": "1"} for shift in ("300", "-300"))
    send = "import proj, time; proj.note.apply_async((time.time() + 1.5, 4), countdown=1.5)"
    with project.worker(env=ahead, concurrency=2), project.worker(env=behind, concurrency=2):
        for shift in (ahead, behind):
            with project.start_python(send, env=shift) as producer:
                assert producer.wait(20) == 0
        # For longer than a lease lasts: neither worker takes what the other one holds.
        wait_until(lambda: len(project.marks("end")) == 2, timeout=20)
        wait_until(lambda: project.count().total == 0)
    starts = project.marks("start")
    assert len(starts) == 2
    # Four clocks, all of them an even number of minutes apart.
    late = [(mark["at"] - mark["start"] + 150) % 300 - 150 for mark in starts]
    assert {round((mark["at"] - mark["start"]) / 300) for mark in starts} <= {-2, 0, 2}
    assert min(late) > -0.01
    assert max(late) < 1
