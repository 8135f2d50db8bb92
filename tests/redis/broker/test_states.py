"""A Redis that answers, but says no: workers wait, keep what they hold, and go on; a full one can be drained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.redis.private_server import PrivateRedis
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

SOURCE = """
    import os, time
    from celery import Celery
    from laraq import Bus, Job, Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.broker_connection_retry_on_startup = True
    app.conf.broker_transport_options = {"retry_after": 5, "visibility_timeout": 5}
    queue = Laraq(app, store=os.environ["STORE"])

    def mark(what):
        with open("marks", "a") as file:
            file.write(f"{what}\\n")

    class Note(Job):
        what: str
        seconds: float = 0
        pad: str = ""

        def handle(self):
            open(f"{self.what}.begun", "w").close()
            time.sleep(self.seconds)
            mark(self.what)

    class Flaky(Job):
        what: str
        tries = 2
        backoff = 1

        def handle(self):
            if self.attempts == 1:
                raise ValueError("once")
            mark(self.what)

    class Fails(Job):
        def handle(self):
            raise ValueError("no")
"""


class Shop(Project):
    """Broker and store are one server."""

    def __init__(self, folder: Path, server: PrivateRedis, scheme: str = "laraq-redis") -> None:
        broker = server.url.replace("redis://", f"{scheme}://")
        super().__init__(folder, {"proj.py": SOURCE}, env={"BROKER": broker, "STORE": server.url})

    def has_begun(self, what: str) -> bool:
        return (self.folder / f"{what}.begun").exists()

    def marks(self) -> list[str]:
        path = self.folder / "marks"
        return sorted(path.read_text().split()) if path.exists() else []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    with PrivateRedis(tmp_path) as server:
        yield server


@pytest.fixture
def admin(server: PrivateRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


REFUSED = """
    import proj
    from laraq.errors import DispatchError
    try:
        proj.Note.dispatch("refused")
    except DispatchError as error:
        print("DispatchError", error)
"""

SAYS_NO = {
    "READONLY": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "NOPERM": ("ACL SETUSER default -@write", "ACL SETUSER default +@all"),
}


@pytest.mark.parametrize(
    ("scheme", "state"), [("laraq-redis", "READONLY"), ("laraq-redis", "NOPERM"), ("redis", "READONLY")]
)
def test_a_worker_outlives_a_server_that_says_no(
    tmp_path: Path, server: PrivateRedis, admin: redis.Redis, scheme: str, state: str
) -> None:
    shop, (change, undo) = Shop(tmp_path, server, scheme), SAYS_NO[state]
    with shop.worker() as worker:
        shop.python("import proj; proj.Note.dispatch('running', 1); proj.Note.dispatch('waiting')")
        wait_until(lambda: shop.has_begun("running"))
        worker.wait_for_log("received", times=2)
        admin.execute_command(*change.split())
        worker.wait_for_log("asking again|Trying to re-establish")
        wait_until(lambda: "running" in shop.marks())
        lines = len(worker.log.splitlines())
        time.sleep(2)
        assert len(worker.log.splitlines()) - lines < 150, "it waits between two tries"
        assert "DispatchError" in shop.python(REFUSED)
        admin.execute_command(*undo.split())
        wait_until(lambda: set(shop.marks()) == {"running", "waiting"}, timeout=30)
        assert worker.terminate() == 0


def test_a_full_server_is_drained(tmp_path: Path, server: PrivateRedis, admin: redis.Redis) -> None:
    shop = Shop(tmp_path, server)
    shop.python(
        "import proj\n"
        "for n in range(20): proj.Note.dispatch(f'note-{n}', pad='x' * 50_000)\n"
        "proj.Flaky.dispatch('flaky'); proj.Fails.dispatch()\n"
        "proj.Bus.batch([proj.Note('member')]).dispatch()"
    )
    used: int = admin.info("memory")["used_memory"]
    admin.config_set("maxmemory", used - 500_000)
    assert "DispatchError" in shop.python(REFUSED)
    with shop.worker(concurrency=2) as worker:
        wait_until(lambda: len(shop.marks()) == 22, timeout=30)
        wait_until(lambda: admin.hlen("{laraq}:failed") == 1)
        wait_until(lambda: admin.hlen("celery:laraq:jobs") == 0)
        shop.python("import proj; proj.Note.dispatch('after')")
        wait_until(lambda: "after" in shop.marks())
        assert "given back" not in worker.log
    assert len(set(shop.marks())) == 23


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_restart_of_stock_redis_ends_no_worker_whose_jobs_run(
    tmp_path: Path, server: PrivateRedis, pool: str
) -> None:
    shop = Shop(tmp_path, server, "redis")
    with shop.worker(pool=pool, concurrency=2) as worker:
        shop.python("import proj\nfor n in range(6): proj.Note.dispatch(f'note-{n}', 1)")
        wait_until(lambda: shop.has_begun("note-0") and shop.has_begun("note-1"))
        server.kill()
        wait_until(lambda: len(shop.marks()) > 1)
        server.start()
        worker.wait_for_log("Connected to", times=2)
        shop.python("import proj; proj.Note.dispatch('after')")
        wait_until(lambda: "after" in shop.marks(), timeout=30)
        assert worker.terminate() == 0
