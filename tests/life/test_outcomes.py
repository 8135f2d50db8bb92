"""Success, retry, release and failure on real workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.life.conftest import Stage

FLAKY = """
class Flaky(Job):
    fails: int

    tries = 3
    backoff = [1, 2]

    def handle(self):
        note("start", attempt=self.attempts)
        if self.attempts <= self.fails:
            raise ValueError(f"failure number {self.attempts}")

    def failed(self, error):
        note("failed", error=repr(error), attempt=self.attempts)

Queue.after(lambda event: note("processed", job=event.name))
Queue.failing(lambda event: note("failing", job=event.name))
"""


@pytest.mark.serial
def test_a_job_that_raises_twice_then_succeeds_starts_three_times_after_its_backoffs(stage: Stage) -> None:
    project = stage.project(FLAKY)
    with project.worker() as worker:
        project.python("import proj; proj.Flaky.dispatch(2)")
        stage.wait_for("processed")
        assert worker.terminate() == 0
    starts = [note["time"] for note in stage.noted("start")]
    assert [note["attempt"] for note in stage.noted("start")] == [1, 2, 3]
    assert 0.9 <= starts[1] - starts[0] < 2
    assert 1.9 <= starts[2] - starts[1] < 3
    assert len(stage.noted("processed")) == 1
    assert stage.failed() == []


def test_a_job_that_uses_up_its_tries_fails_once_with_its_own_error(stage: Stage) -> None:
    project = stage.project(FLAKY)
    with project.worker():
        id = project.python("import proj; print(proj.Flaky.dispatch(9).id)").strip()
        [failed] = stage.wait_for_failed()
        stage.wait_for("failing")
    assert [note["attempt"] for note in stage.noted("start")] == [1, 2, 3]
    assert [note["error"] for note in stage.noted("failed")] == ["ValueError('failure number 3')"]
    assert len(stage.noted("failing")) == 1
    assert (failed.id, failed.job, failed.attempts) == (id, "proj.Flaky", 3)
    assert "ValueError: failure number 3" in failed.exception
    assert failed.payload["kwargs"] == {"fails": 9}


def test_a_released_job_starts_again_and_never_fails_by_releasing(stage: Stage) -> None:
    project = stage.project("""
        class Releases(Job):
            tries = 3

            def handle(self):
                note("start", attempt=self.attempts)
                self.release(0.2)

            def failed(self, error):
                note("failed", error=type(error).__name__)
    """)
    with project.worker():
        project.python("import proj; proj.Releases.dispatch()")
        [note] = stage.wait_for("failed")
    assert [start["attempt"] for start in stage.noted("start")] == [1, 2, 3]
    assert note["error"] == "MaxAttemptsExceededError"


def test_fail_delete_and_middleware_decide_the_outcome(redis_stage: Stage) -> None:
    project = redis_stage.project("""
        class Trace:
            def handle(self, job, next):
                note("before")
                try:
                    return next(job)
                finally:
                    note("after")

        class Fails(Job):
            tries = 5

            def middleware(self):
                return [Trace()]

            def handle(self):
                note("start")
                self.fail("given up")

        class Deletes(Job):
            def handle(self):
                self.delete()
                raise RuntimeError("too late to matter")

        class Skipped(Job):
            def middleware(self):
                return [lambda job, next: None]

            def handle(self):
                note("never")

        Queue.after(lambda event: note("processed", job=event.name))
    """)
    with project.worker():
        project.python("import proj; [cls.dispatch() for cls in (proj.Fails, proj.Deletes, proj.Skipped)]")
        redis_stage.wait_for("processed", job="proj.Deletes")
        redis_stage.wait_for("processed", job="proj.Skipped")
        [failed] = redis_stage.wait_for_failed()
    assert "ManuallyFailedError: given up" in failed.exception
    assert [entry["what"] for entry in redis_stage.noted() if entry["what"] != "processed"] == [
        "before",
        "start",
        "after",
    ]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_async_jobs_and_middleware_run_on_every_pool(redis_stage: Stage, pool: str) -> None:
    project = redis_stage.project("""
        import asyncio

        class AsyncTrace:
            async def handle(self, job, next):
                note("before")
                result = await next(job)
                note("after", result=result)
                return result

        class Async(Job):
            tries = 2

            def middleware(self):
                return [AsyncTrace()]

            async def handle(self):
                await asyncio.sleep(0.01)
                note("loop", id=id(asyncio.get_running_loop()))
                if self.attempts == 1:
                    raise ValueError("once")
                return "done"
    """)
    with project.worker(pool=pool):
        project.python("import proj; proj.Async.dispatch()")
        [after] = redis_stage.wait_for("after")
    assert after["result"] == "done"
    assert len({note["id"] for note in redis_stage.noted("loop")}) == 1
    assert len(redis_stage.noted("before")) == 2


def test_jobs_compose_into_celerys_canvas(stage: Stage) -> None:
    project = stage.project("""
        app.conf.result_backend = os.environ["STORE"]

        class Add(Job):
            a: int
            b: int = 1
            tries = 2

            def handle(self):
                if self.attempts == 1 and self.b == 10:
                    raise ValueError("once")
                return self.a + self.b

        @job
        def double(x: int):
            return x * 2

        @app.task
        def total(numbers):
            return sum(numbers)
    """)
    with project.worker():
        printed = project.python("""
            from celery import chain, chord, group
            from proj import Add, double, total
            print(chain(Add.s(1), Add.s(b=10), double.s(), total.si([7])).apply_async().get(timeout=20))
            print(chain(Add.s(1), Add.s(b=10), double.s()).apply_async().get(timeout=20))
            print(chord([Add.s(n, b=10) for n in range(3)], total.s())().get(timeout=20))
            print(group(Add.si(n) for n in range(3)).apply_async().get(timeout=20))
            print(double.delay(4).get(timeout=20), Add.dispatch(3, 4).result.get(timeout=20))
        """)
    assert printed.split("\n")[:5] == ["7", "24", "33", "[1, 2, 3]", "8 7"]


def test_a_stranger_sends_a_job_by_name(stage: Stage) -> None:
    project = stage.project("""
        class Greet(Job):
            name: str
            punctuation: str = "!"

            def handle(self):
                note("greeting", text=f"hello {self.name}{self.punctuation}")
    """)
    with project.worker():
        project.python("""
            import os
            from celery import Celery
            stranger = Celery("elsewhere", broker=os.environ["BROKER"])
            stranger.send_task("proj.Greet", args=["Ada"])
            stranger.send_task("proj.Greet", kwargs={"name": "Bob", "punctuation": "?"})
        """)
        stage.wait_for("greeting", times=2)
    assert {note["text"] for note in stage.noted("greeting")} == {"hello Ada!", "hello Bob?"}


def test_a_delay_below_a_second_works_on_quorum_queues(tmp_path: Path, amqp_url: str, redis_url: str) -> None:
    """Celery 5.7 raises ValueError for a countdown between 0 and 1 there (queue.py: countdown)."""
    stage = Stage(tmp_path, amqp_url, redis_url, "")
    project = stage.project("""
        from kombu import Exchange, Queue as KombuQueue

        app.conf.task_default_exchange_type = "topic"
        app.conf.task_queues = [
            KombuQueue("celery", Exchange("tasks", "topic"), "celery", queue_arguments={"x-queue-type": "quorum"})
        ]
        app.conf.task_default_exchange, app.conf.task_default_routing_key = "tasks", "celery"
        app.conf.broker_transport_options = {"confirm_publish": True}

        class Soon(Job):
            tries = 2
            backoff = 0.3

            def handle(self):
                note("start", attempt=self.attempts)
                if self.attempts == 1:
                    raise ValueError("once")
    """)
    with project.worker():
        project.python("import proj; proj.Soon().with_delay(0.2).dispatch()")
        stage.wait_for("start", times=2)
    assert [note["attempt"] for note in stage.noted("start")] == [1, 2]
    stage.close()
