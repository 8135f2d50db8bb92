"""Processes are killed, frozen and cut off: no job is lost, none runs twice while its worker lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.redis.broker.project import RedisProject
from tests.redis.private_server import PrivateRedis
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A server that has written down every command before it answers."""
    with PrivateRedis(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def secluded(tmp_path: Path) -> Iterator[RedisProject]:
    """On a server whose connections nobody else is hurt to lose."""
    with PrivateRedis(tmp_path) as server:
        yield RedisProject(tmp_path, server.url)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_cut_connection_does_not_repeat_the_running_job(secluded: RedisProject, pool: str) -> None:
    with secluded.worker(pool=pool) as worker:
        secluded.python("import proj; proj.note.delay('long', 6)")
        wait_until(lambda: secluded.names("start"), timeout=15)
        for kind in ("normal", "pubsub"):
            secluded.queues.client.client_kill_filter(_type=kind, skipme=True)
        wait_until(lambda: secluded.names("end"), timeout=25)
        wait_until(lambda: secluded.count().total == 0)
        secluded.python("import proj; proj.note.delay('after')")
        wait_until(lambda: "after" in secluded.names("end"), timeout=25)
        assert "EMERGENCY" not in worker.log
    assert secluded.names("start") == ["long", "after"]


#: What Celery 5.5 does when a connection is lost: its pool forgets what it runs (`AsynPool.flush`).
FORGETFUL = """
    from celery.concurrency.asynpool import AsynPool
    from proj import app

    stock = AsynPool.flush

    def flush(pool):
        stock(pool)
        pool._cache.clear()

    AsynPool.flush = flush
"""


def test_the_end_of_a_job_is_seen_although_the_pool_forgets_it_with_the_connection(secluded: RedisProject) -> None:
    (secluded.folder / "forgetful.py").write_text(dedent(FORGETFUL))
    with secluded.worker("forgetful", concurrency=2):
        secluded.python("import proj; proj.note.delay('short', 4); proj.note.delay('long', 60)")
        wait_until(lambda: len(secluded.names("start")) == 2, timeout=15)
        for _ in range(2):  # the second finds what the first left behind
            secluded.queues.client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.5)  # a worker that is not connected yet has no connection to lose
        wait_until(lambda: secluded.count().total == 1, timeout=15)
        secluded.stop_holding("long")
        wait_until(lambda: secluded.count().total == 0)
    assert sorted(secluded.names("start")) == ["long", "short"]


def test_cuts_under_load_neither_lose_nor_repeat(secluded: RedisProject) -> None:
    with secluded.worker(concurrency=2, args=["--prefetch-multiplier", "4"]) as worker:
        secluded.python("import proj\nfor n in range(400): proj.note.delay(n, 0.005)")
        for share in (0.25, 0.5, 0.75):
            wait_until(lambda share=share: len(secluded.names("end")) > 400 * share, timeout=30)  # type: ignore[misc]  # a default binds the loop's value
            secluded.queues.client.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: len(set(secluded.names("end"))) == 400, timeout=60)
        wait_until(lambda: secluded.count().total == 0, timeout=15)
        assert "EMERGENCY" not in worker.log
    # What was on its way to a child at that very moment: Celery forgets it, and ordinary tasks have no journal.
    assert len(secluded.names("start")) - 400 <= 3 * 2


@pytest.mark.timeout(180)
def test_a_restarted_server_neither_loses_nor_repeats(tmp_path: Path, durable: PrivateRedis) -> None:
    project = RedisProject(tmp_path, durable.url, retry_after=10)
    with project.worker(concurrency=2):
        project.python("import proj; proj.note.delay('long', 8)\nfor n in range(300): proj.note.delay(n, 0.01)")
        wait_until(lambda: len(project.names("end")) > 60, timeout=30)
        durable.kill()
        time.sleep(1)  # the worker must meet a server that is not there
        durable.start()
        wait_until(lambda: len(set(project.names("end"))) == 301, timeout=90)
        wait_until(lambda: project.count().total == 0, timeout=20)
        project.python("import proj; proj.note.delay('after')")
        wait_until(lambda: "after" in project.names("end"), timeout=25)
    assert sorted(map(str, project.names("start"))) == sorted(map(str, ["long", "after", *range(300)]))


def test_a_server_that_forgot_everything_is_worked_on_and_the_owed_acknowledgements_hit_nobody(
    tmp_path: Path,
) -> None:
    with PrivateRedis(tmp_path) as server:
        project = RedisProject(tmp_path, server.url)
        with project.worker():
            project.python("import proj; proj.note.delay('long', 5)")
            wait_until(lambda: project.names("start"), timeout=15)
            server.kill()
            server.start()
            project.python("import proj\nfor n in range(20): proj.note.delay(n)")
            wait_until(lambda: len(project.names("end")) == 21, timeout=40)
            wait_until(lambda: project.count().total == 0)
    assert project.names("start") == ["long", *range(20)]


def test_a_full_server_is_drained(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path, "--maxmemory-policy", "noeviction") as server:
        project = RedisProject(tmp_path, server.url)
        with project.worker():
            project.python(
                """
                import proj
                proj.note.delay("first", 60)
                for n in range(50): proj.note.delay(n)
                proj.note.apply_async(("later",), countdown=2)
                """
            )
            project.queues.client.config_set("maxmemory", 1)
            project.stop_holding("first")
            wait_until(lambda: len(project.names("end")) == 52, timeout=30)
            wait_until(lambda: project.count().total == 0)
