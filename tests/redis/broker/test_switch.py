"""A fleet on kombu's own Redis transport is switched to ours worker by worker, and back; both serve the same queues."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.redis.broker.project import RedisProject
from tests.support.waiting import wait_until


def test_ours_and_stock_workers_share_queues_and_each_job_runs_once(project: RedisProject) -> None:
    with project.worker(), project.worker(env=project.stock):
        project.python("import proj\nfor n in range(150): proj.note.apply_async((n, 0.01), priority=n % 10)")
        project.python_on(project.stock, "import proj\nfor n in range(150, 300): proj.note.delay(n, 0.01)")
        wait_until(lambda: len(project.names("end")) == 300, timeout=40)
        wait_until(lambda: project.count().total == 0)
    assert sorted(project.names("start")) == list(range(300))
    assert {mark["scheme"] for mark in project.marks("end")} == {"redis", "laraq-redis"}


@pytest.mark.parametrize("sender", ["ours", "stock"])
def test_messages_of_one_kind_are_read_in_order_by_a_worker_of_the_other(project: RedisProject, sender: str) -> None:
    env, other = ({}, project.stock) if sender == "ours" else (project.stock, {})
    send = "import proj\nfor n in range(20): proj.note.apply_async((n,), priority={priority})"
    project.python_on(env, send.format(priority=9))
    project.python_on(env, send.replace("(n,)", "(100 + n,)").format(priority=0))
    with project.worker(pool="solo", env=other):
        wait_until(lambda: len(project.names("end")) == 40, timeout=30)
    assert project.names("start") == [*range(100, 120), *range(20)]


def test_what_a_dead_stock_worker_held_is_put_back_by_ours(tmp_path: Path, redis_url: str) -> None:
    project = RedisProject(tmp_path, redis_url, visibility_timeout=1)
    with project.worker(env=project.stock) as stock:
        project.python("import proj; proj.note.delay('x', 60)")
        wait_until(lambda: project.names("start"), timeout=15)
        stock.kill()
    tags: Any = project.queues.client.zrange("unacked_index", 0, -1)
    project.queues.client.zadd("unacked_index", dict.fromkeys(tags, 1))  # long ago
    with project.worker():
        wait_until(lambda: len(project.names("start")) == 2, timeout=15)
    assert project.marks("start")[1]["redelivered"]


def test_the_switch_and_the_switch_back(project: RedisProject) -> None:
    producer = project.start_python(
        """
        import os, proj, time
        for n in range(250):
            while n == 125 and not os.path.exists("switched"):  # else stock workers might have had all
                time.sleep(0.05)
            proj.note.apply_async((n, 0.01), countdown=2 if n % 10 == 0 else None)
            time.sleep(0.02)
        proj.note.apply_async(("tomorrow",), countdown=86400)
        """,
        project.stock,
    )
    with project.worker(env=project.stock) as first, project.worker(env=project.stock) as second:
        wait_until(lambda: len(project.names("end")) > 30, timeout=30)
        assert first.terminate() == 0
        with project.worker() as third, project.worker() as fourth:
            assert second.terminate() == 0
            (project.folder / "switched").touch()
            wait_until(lambda: len(project.names("end")) > 160, timeout=30)
            assert third.terminate() == 0
            project.python("import proj; proj.note.delay('held', 60)")
            wait_until(lambda: "held" in project.names("start"), timeout=15)
            fourth.kill()
        assert producer.wait(30) == 0
        assert project.count().reserved
        restored = project.run([str(Path(sys.executable).parent / "laraq"), "-A", "jobs", "redis:restore", "--force"])
        assert restored.split()[-3] == "celery"
        assert (project.count().reserved, project.count().delayed) == (0, 0)
        project.stop_holding("held")
        with project.worker(env=project.stock, concurrency=4):
            wait_until(lambda: set(project.names("end")) >= {*range(250), "held"}, timeout=40)
    starts = Counter(project.names("start"))
    assert starts.pop("held") == 2
    assert starts.keys() == set(range(250))
    # A stock worker that stops restores what it has finished and not yet acknowledged.
    stock = {mark["start"] for mark in project.marks("start") if mark["scheme"] == "redis"}
    assert {name for name, times in starts.items() if times > 1} <= stock
    kinds = {mark["scheme"] for mark in project.marks("end")}
    assert kinds == {"redis", "laraq-redis"}
