"""`laraq queues`, `monitor`, `jobs`, `parked` and `workers`, as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import FORMS, LARAQ, run_in_terminal
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
    import os, time
    from celery import Celery
    from laraq import Events, Job, Laraq, Queue, events, lock
    from laraq.middleware import WithoutOverlapping

    app = Celery("proj", broker=os.environ["BROKER"])
    queue = Laraq(app, store=os.environ["STORE"])

    Events.listen(events.QueueBusy, lambda busy: open("busy", "a").write(f"{busy.connection}:{busy.queue} {busy.size}"))

    class Note(Job):
        n: int = 0

        def handle(self): ...

    class Hold(Job):
        display_name = "Hold on"

        def handle(self):
            open("holds", "w").close()
            while not os.path.exists("go"): time.sleep(0.01)

    class Alone(Job):
        queue = "alone"

        def middleware(self):
            return [WithoutOverlapping("x").park()]

        def handle(self): ...
"""


class Shop(Project):
    def __init__(self, folder: Path, broker: str, store: str) -> None:
        super().__init__(folder, {"proj.py": SOURCE}, env={"BROKER": broker, "STORE": store})
        self.env = {"BROKER": broker, "STORE": store}

    def told(self, *command: str, status: int = 0) -> list[dict[str, Any]]:
        """The JSON that a command prints."""
        found: list[dict[str, Any]] = json.loads(self.run([*LARAQ, "-A", "proj", *command, "--json"], status=status))
        return found


@pytest.fixture
def shop(tmp_path: Path, redis_url: str) -> Shop:
    return Shop(tmp_path, f"laraq-{redis_url}", redis_url)


def test_queues_are_listed_with_their_jobs_pauses_and_workers(shop: Shop) -> None:
    shop.python("""
        import proj
        for n in range(3): proj.Note(n).dispatch()
        proj.Note().with_delay(600).dispatch()
        proj.Note().on_queue("low").dispatch()
        proj.Queue.pause("low", 600)
    """)
    with shop.worker(queues=["other"]):
        found = {facts["queue"]: facts for facts in shop.told("queues")}
        status, screen = run_in_terminal([*FORMS["celery"], "queues"], folder=shop.folder, env=shop.env, columns=80)
    assert [found["celery"][name] for name in ("pending", "delayed", "reserved", "parked", "workers")] == [
        3,
        1,
        0,
        0,
        0,
    ]
    assert found["celery"]["oldest_pending"] is not None
    assert (found["low"]["paused"], found["celery"]["paused"]) == (True, False)
    assert 590 < found["low"]["paused_for"] <= 600
    assert (found["other"]["workers"], found["other"]["pending"]) == (1, 0)
    assert found["alone"]["pending"] == 0
    assert status == 0
    lines = re.sub(r"\x1b\[[\d;]*m", "", screen).splitlines()
    assert max(map(len, lines)) <= 80
    assert "No worker takes the jobs of default:celery." in lines
    assert not any("jobs of default:low" in line for line in lines)


def test_what_rabbitmq_cannot_tell_is_a_dash(tmp_path: Path, amqp_url: str, redis_url: str) -> None:
    shop = Shop(tmp_path, amqp_url, redis_url)
    shop.python("import proj; proj.Note().dispatch()")
    line = shop.run([*LARAQ, "-A", "proj", "queues", "celery"]).splitlines()[1]
    assert re.split(r"\s{2,}", line.strip()) == ["default:celery", "1", "0", "-", "0", "-", "0"]
    [facts] = shop.told("monitor", "celery")
    assert (facts["pending"], facts["reserved"], facts["size"], facts["busy"]) == (1, None, 1, False)
    assert "AMQP shows a message only to a consumer" in shop_error(shop, "jobs")


def shop_error(shop: Shop, *command: str) -> str:
    status, screen = run_in_terminal([*LARAQ, "-A", "proj", *command], folder=shop.folder, env=shop.env)
    assert status == 1
    return screen


def test_a_long_queue_is_busy(shop: Shop) -> None:
    shop.python("import proj; proj.Note().dispatch(); proj.Note().with_delay(60).dispatch()")
    assert [facts["busy"] for facts in shop.told("monitor", "celery,low", "--max", "3")] == [False, False]
    found = shop.told("monitor", "celery, low", "--max", "2", status=1)
    assert [(facts["queue"], facts["size"], facts["busy"]) for facts in found] == [
        ("celery", 2, True),
        ("low", 0, False),
    ]
    assert (shop.folder / "busy").read_text() == "default:celery 2"
    table = shop.run([*LARAQ, "-A", "proj", "monitor", "celery", "--max", "1"], status=1)
    assert re.search(r"default:celery +BUSY +2 +1 +1 +0", table)


def test_jobs_are_listed_by_their_state(shop: Shop) -> None:
    shop.python("""
        import proj
        assert proj.lock("overlap:proj.Alone:x", 600).acquire()
        for n in range(2): proj.Note(n).on_queue("alone").dispatch()
        proj.Note().on_queue("alone").with_delay(600).dispatch()
        proj.Alone.dispatch()
    """)
    with shop.worker(queues=["alone"]):
        wait_until(lambda: len(shop.told("parked")) == 1)
    shop.python("import proj; [proj.Note(n).on_queue('alone').dispatch() for n in range(2)]")
    assert [job["state"] for job in shop.told("jobs", "alone")] == ["pending", "pending", "delayed", "parked"]
    assert [job["job"] for job in shop.told("jobs", "alone", "--state", "parked")] == ["proj.Alone"]
    assert len(shop.told("jobs", "alone", "--limit", "1")) == 1
    assert shop.told("jobs", "celery") == []
    [parked] = shop.told("parked")
    assert (parked["job"], parked["queue"], parked["lock"]) == ("proj.Alone", "alone", "overlap:proj.Alone:x")
    for command in (["jobs", "alone"], ["parked"]):
        _, screen = run_in_terminal([*LARAQ, "-A", "proj", *command], folder=shop.folder, env=shop.env, columns=80)
        assert "proj.Alone" in screen
        assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", screen).splitlines())) <= 80


def test_workers_are_listed_with_what_they_run(shop: Shop) -> None:
    assert shop.told("workers") == []
    shop.python("import proj; proj.Hold.dispatch()")
    with shop.worker(concurrency=2):
        wait_until((shop.folder / "holds").exists)
        [worker] = shop.told("workers")
        assert (worker["connection"], worker["queues"]) == ("default", ["celery"])
        [run] = worker["runs"]
        assert run["job"] == "Hold on"
        assert run["since"] is not None
        _, screen = run_in_terminal([*LARAQ, "-A", "proj", "workers"], folder=shop.folder, env=shop.env, columns=80)
        assert "Hold on" in screen
        (shop.folder / "go").touch()
        wait_until(lambda: shop.told("workers")[0]["runs"] == [])
