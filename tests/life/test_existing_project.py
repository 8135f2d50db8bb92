"""A Celery project that was there before: it behaves the same with and without `Laraq(app)`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.project import Project

OLD = """
import os
from celery import Celery, chord, group, signals
from celery.schedules import crontab

app = Celery("old", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    task_routes={"old.routed": {"queue": "special"}},
    beat_schedule={"tick": {"task": "old.add", "schedule": crontab(minute="*/5"), "args": (1, 2)}},
    task_acks_late=False,
    worker_prefetch_multiplier=3,
)

@app.task
def add(x, y): return x + y

@app.task
def total(numbers): return sum(numbers)

@app.task
def routed(): return routed.request.delivery_info["routing_key"]

@app.task(bind=True, max_retries=2)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries

@app.task
def broken(): raise KeyError("old")

@app.task(acks_late=True, reject_on_worker_lost=True, time_limit=30, rate_limit="100/s")
def careful(): return careful.request.hostname is not None

if os.environ.get("WITH_LARAQ"):
    from laraq import Laraq
    queue = Laraq(app, store=os.environ["STORE"])
"""

TRANSCRIPT = """
import json
import old
from celery import chain, chord, group

SETTINGS = ("acks_late", "acks_on_failure_or_timeout", "reject_on_worker_lost", "ignore_result", "max_retries",
            "rate_limit", "time_limit", "soft_time_limit", "track_started", "Request", "Strategy", "typing")

def outcome(result):
    try:
        return result.get(timeout=30)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps({
    "add": outcome(old.add.delay(1, 2)),
    "countdown": outcome(old.add.apply_async((2, 2), countdown=0.2)),
    "by name": outcome(old.app.send_task("old.add", (3, 3))),
    "routed": outcome(old.routed.delay()),
    "flaky": outcome(old.flaky.delay()),
    "broken": outcome(old.broken.delay()),
    "careful": outcome(old.careful.delay()),
    "chain": outcome(chain(old.add.s(1, 1), old.add.s(5))()),
    "group": outcome(group(old.add.s(n, n) for n in range(3))()),
    "chord": outcome(chord((old.add.s(n, 1) for n in range(3)), old.total.s())()),
    "types": outcome(old.add.apply_async((1,), typing=False)) if False else None,
    "tasks": {name: {setting: str(getattr(task, setting)) for setting in SETTINGS}
              for name, task in old.app.tasks.items() if name.startswith("old.") and not name.startswith("laraq")},
    "beat": str(old.app.conf.beat_schedule["tick"]["schedule"]),
    "conf": {key: str(old.app.conf[key]) for key in
             ("task_acks_late", "worker_prefetch_multiplier", "task_default_queue", "accept_content", "task_serializer",
              "task_reject_on_worker_lost", "task_track_started", "broker_transport_options", "task_time_limit")},
}, sort_keys=True))
"""


def transcript(folder: Path, env: dict[str, str]) -> dict[str, object]:
    folder.mkdir()
    project = Project(folder, {"old.py": OLD}, env=env)
    with project.worker("old", queues=["celery", "special"]) as worker:
        told: dict[str, object] = json.loads(project.python(TRANSCRIPT))
        assert worker.terminate() == 0
    return told


def test_it_behaves_the_same_with_and_without_laraq(tmp_path: Path, broker_url: str, redis_url: str) -> None:
    env = {"BROKER": broker_url, "BACKEND": redis_url, "STORE": redis_url}
    without = transcript(tmp_path / "without", env)
    assert without == transcript(tmp_path / "with", {**env, "WITH_LARAQ": "1"})
    assert (without["chord"], without["routed"], without["flaky"]) == (6, "special", 2)
