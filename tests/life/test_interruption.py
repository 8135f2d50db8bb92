"""A running job hears that its worker was told to stop."""

from __future__ import annotations

import signal

import pytest

from tests.life.conftest import Stage

CRAWL = """
class Crawl(Job):
    name: str = "a"

    def __post_init__(self): self.signal = None

    def interrupted(self, signal):
        self.signal = signal
        if self.name == "raises": raise ValueError("from interrupted()")

    def handle(self):
        note("start")
        for _ in range(2000):
            if self.signal: break
            time.sleep(0.01)
        note("end", signal=self.signal, name=self.name)

class ACrawl(Crawl):
    async def handle(self):
        import asyncio
        note("start")
        for _ in range(2000):
            if self.signal: break
            await asyncio.sleep(0.01)
        note("end", signal=self.signal, name=self.name)
"""


@pytest.mark.parametrize(
    ("command", "pool", "name"), [("celery", "prefork", "SIGTERM"), ("celery", "solo", "SIGINT"),
                                  ("laraq", "prefork", "SIGINT")]
)  # fmt: skip
def test_every_job_that_runs_hears_of_the_signal_and_goes_on(
    redis_stage: Stage, command: str, pool: str, name: str
) -> None:
    stage = redis_stage
    project = stage.project(CRAWL)
    jobs = 1 if pool == "solo" else 2
    project.python(f"from proj import *; [Crawl().dispatch() for _ in range({jobs})]")
    with project.worker(command=command, pool=pool, concurrency=jobs) as worker:  # type: ignore[arg-type] # one of two
        stage.wait_for("start", times=jobs)
        worker.send_signal(signal.Signals[name])
        worker.wait()
    assert [entry["signal"] for entry in stage.noted("end")] == [signal.Signals[name]] * jobs
    assert stage.failed() == []


def test_an_asynchronous_job_hears_of_it_too_and_a_hook_that_raises_stops_nothing(redis_stage: Stage) -> None:
    stage = redis_stage
    project = stage.project(CRAWL)
    project.python("from proj import *; ACrawl('async').dispatch(); Crawl('raises').dispatch()")
    with project.worker(concurrency=3) as worker:
        stage.wait_for("start", times=2)
        worker.terminate()
    assert {(entry["name"], entry["signal"]) for entry in stage.noted("end")} == {("async", 15), ("raises", 15)}
    assert "from interrupted()" in worker.log
    assert stage.failed() == []
