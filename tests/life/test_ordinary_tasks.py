"""Ordinary Celery tasks that opt in, and those whose failures are only recorded."""

from __future__ import annotations

from tests.life.conftest import Stage


def test_a_task_opts_in_with_its_base_and_keeps_its_verbs(stage: Stage) -> None:
    project = stage.project("""
        app.conf.result_backend = os.environ["STORE"]

        class Trace:
            def handle(self, job, next):
                note("middleware", job=job.job_name(), attempt=job.attempts)
                return next(job)

        @app.task(base=LaraqTask, bind=True, tries=3, backoff=[0.1], middleware=[Trace()])
        def legacy(self, x, y=1):
            note("start", id=self.request.id)
            if self.request.retries < 1:
                raise ValueError("once")
            return x + y

        @app.task(base=LaraqTask, tries=2)
        def deadly(x):
            note("deadly")
            os._exit(1)

        @app.task(base=LaraqTask, bind=True, tries=5)
        def own_retry(self):
            if self.request.retries < 1:
                raise self.retry(countdown=0.1)
            return "retried by Celery"
    """)
    with project.worker():
        printed = project.python("""
            import proj
            print(proj.legacy.run.__name__, proj.legacy.s(1, y=2).apply_async().get(timeout=20))
            print(proj.own_retry.delay().get(timeout=20))
            print(proj.deadly.delay(1).id)
        """).split("\n")
        [failed] = stage.wait_for_failed()
    assert printed[:2] == ["legacy 3", "retried by Celery"]
    assert failed.id == printed[2]
    assert failed.job == "proj.deadly"
    assert len(stage.noted("deadly")) == 2
    assert [note["attempt"] for note in stage.noted("middleware", job="proj.legacy")] == [1, 2]


def test_failures_of_ordinary_tasks_are_recorded_on_request_and_can_be_retried(stage: Stage) -> None:
    project = stage.project("""
        app.conf.laraq_record_failed_tasks = True

        @app.task
        def plain(x):
            note("plain", x=x)
            if record.incr("runs") < 2:
                raise KeyError("first run")
    """)
    with project.worker():
        project.python("import proj; proj.plain.delay(5)")
        [failed] = stage.wait_for_failed()
        assert (failed.job, failed.payload["args"]) == ("proj.plain", [5])
        project.python("import proj; from laraq import Failed; print(Failed.retry('all'))")
        stage.wait_for("plain", times=2, x=5)
    assert stage.failed() == []


def test_retry_starts_over_under_the_same_uuid(stage: Stage) -> None:
    project = stage.project("""
        from datetime import timedelta

        class Once(Job):
            tries = 2
            backoff = 0

            def handle(self):
                note("start", id=self.id, attempt=self.attempts)
                if record.incr("runs") < 4:
                    raise ValueError("not yet")

        Queue.after(lambda event: note("processed"))
    """)
    with project.worker():
        project.python("import proj; proj.Once.dispatch()")
        stage.wait_for_failed()
        project.python("import proj; from laraq import Failed; Failed.retry('all')")
        stage.wait_for("processed")
    starts = stage.noted("start")
    assert [start["attempt"] for start in starts] == [1, 2, 1, 2]
    assert len({start["id"] for start in starts}) == 1
    assert stage.failed() == []


def test_a_retry_that_crashes_between_its_two_steps_loses_nothing(stage: Stage) -> None:
    project = stage.project("""
        class Once(Job):
            def handle(self):
                note("start", attempt=self.attempts)
                if record.incr("runs") < 2:
                    raise ValueError("not yet")
    """)
    with project.worker():
        project.python("import proj; proj.Once.dispatch()")
        [failed] = stage.wait_for_failed()
        project.run(
            [
                __import__("sys").executable,
                "-c",
                """
import os, proj
from laraq import Failed, Events, events
type(proj.queue.failed.jobs).forget = lambda *_: os._exit(9)
Failed.retry("all")
""",
            ],
            status=9,
        )
        stage.wait_for("start", times=2)
    assert [record.id for record in stage.failed()] == [failed.id], "the record is still there, and the job has run"
