"""A rolling restart under load: nothing is lost, nothing repeated, and nothing cut that could have finished."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.life.conftest import Stage
from tests.support.full import full_size_only

JOBS = int(os.environ.get("LARAQ_ROLLING_JOBS", "400"))

SOURCE = """
import random
from laraq import Bus

app.conf.worker_prefetch_multiplier = 16
if "laraq-db" in os.environ["BROKER"]: app.conf.broker_transport_options = {"create_tables": True}

class Works(Job):
    n: int
    tries = 1
    def handle(self):
        note("begun", n=self.n)
        time.sleep(random.choice([0, 0, 0, 0.005, 0.2]))
        note("ended", n=self.n)
"""


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("broker", ["redis", "amqp", "laraq-redis", "laraq-db"])
def test_workers_are_replaced_under_load(
    tmp_path: Path, redis_url: str, request: pytest.FixtureRequest, broker: str, whole_group: bool
) -> None:
    if not whole_group and broker != "redis":
        full_size_only()
    urls = {
        "redis": lambda: redis_url,
        "amqp": lambda: str(request.getfixturevalue("amqp_url")),
        "laraq-redis": lambda: f"laraq-{redis_url}",
        "laraq-db": lambda: f"laraq-db+{request.getfixturevalue('postgres_url')}",
    }
    stage = Stage(tmp_path, urls[broker](), redis_url, "celery")
    project = stage.project(SOURCE)
    project.python(f"from proj import *; Bus.bulk(Works(n) for n in range({JOBS}))")
    with ExitStack() as workers:
        old = [workers.enter_context(project.worker(concurrency=2)) for _ in range(2)]
        for done in range(1, 4):
            stage.wait_for("ended", JOBS * done // 5)
            new = workers.enter_context(project.worker(concurrency=2))
            leaving = old.pop(0)
            if whole_group:
                os.killpg(leaving.pid, signal.SIGTERM)
            else:
                os.kill(leaving.pid, signal.SIGTERM)
            assert leaving.wait() == 0
            old.append(new)
        stage.wait_for("ended", JOBS, timeout=60)
        assert not stage.failed()
    assert Counter(entry["n"] for entry in stage.noted("begun")) == Counter(range(JOBS))
    assert Counter(entry["n"] for entry in stage.noted("ended")) == Counter(range(JOBS))
    stage.close()
