"""A job's task is a task of its app: `task_cls` counts for jobs and opted-in tasks as it does for ordinary tasks."""

from __future__ import annotations

import pytest

from tests.life.conftest import Stage

pytestmark = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

#: Flask's documented class, with a stand-in for the application context, and with every hook, none of them polite.
FLASK_TASK = """
    from contextlib import contextmanager
    from contextvars import ContextVar
    from celery import Task

    app.conf.result_backend = os.environ["STORE"]
    context = ContextVar("context")

    @contextmanager
    def app_context():
        token = context.set("open")
        yield
        context.reset(token)

    class FlaskTask(Task):
        acks_late = False
        max_retries = 0
        owner = "shop"

        def __call__(self, *args, **kwargs):
            note("call", task=self.name)
            if record.exists("closed"):
                record.delete("closed")
                raise ConnectionError("no context today")
            with app_context():
                return CALL

        def delay_on_commit(self, *args, **kwargs):
            return self.apply_async(args, kwargs)

        def before_start(self, *args): note("before_start", task=self.name)
        def on_success(self, *args): note("on_success", task=self.name)
        def on_failure(self, *args): note("on_failure", task=self.name)
        def on_retry(self, *args): note("on_retry", task=self.name)
        def after_return(self, status, *args): note("after_return", task=self.name, status=status)

    app.task_cls = FlaskTask

    class Trace:
        def handle(self, job, next):
            note("middleware", context=context.get())
            return next(job)

    class Add(Job):
        n: int
        tries = 3
        backoff = 0

        def middleware(self):
            return [Trace()]

        def handle(self):
            note("start", n=self.n, attempt=self.attempts, context=context.get())
            if self.n == 13:
                raise ValueError("unlucky")
            return self.n + 1

        def failed(self, error):
            note("failed", context=context.get())

    @app.task(base=LaraqTask, bind=True, tries=3, backoff=[0])
    def legacy(self, n):
        note("start", n=n, attempt=self.request.laraq_delivery.attempt, context=context.get(), id=self.request.id)
        if self.request.laraq_delivery.attempt < 2:
            raise ValueError("once")
        return n

    @app.task(base=LaraqTask, tries=2, autoretry_for=(KeyError,), max_retries=3, default_retry_delay=0)
    def by_celery(n):
        note("autoretried", context=context.get())
        raise KeyError(n)
"""


@pytest.mark.parametrize(("pool", "call"), [
    ("prefork", "self.run(*args, **kwargs)"), ("solo", "super().__call__(*args, **kwargs)"),
])  # fmt: skip
def test_the_apps_own_task_class_goes_around_each_delivery_of_a_job(stage: Stage, pool: str, call: str) -> None:
    project = stage.project(FLASK_TASK.replace("CALL", call))
    with project.worker(pool=pool):
        printed = project.python("""
            import proj
            add = proj.app.tasks["proj.Add"]
            print(add.owner, add.acks_late, add.max_retries, isinstance(add, proj.app.Task))
            print(add.delay_on_commit(1).get(timeout=20), proj.Add.dispatch(2).result.get(timeout=20))
            print(proj.legacy.delay(7).get(timeout=20), proj.legacy.acks_late)
            proj.Add.dispatch(13)
            print(add(1), add.apply((4,)).get())
        """).splitlines()
        stage.wait_for("on_failure")
        [failed] = stage.wait_for_failed()
    assert printed == ["shop True None True", "2 3", "7 True", "2 5"]
    assert (failed.job, failed.attempts) == ("proj.Add", 3)
    for n, attempts in ((1, [1, 1]), (2, [1]), (4, [1]), (7, [1, 2]), (13, [1, 2, 3])):  # 1 also as a plain call
        seen = [note.get("attempt", 1) for note in stage.noted("start", n=n)]
        assert seen == attempts or n == 1
    assert {note["context"] for what in ("start", "middleware", "failed") for note in stage.noted(what)} == {"open"}
    assert len(stage.noted("on_retry", task="proj.Add")) == 2
    assert len(stage.noted("on_retry", task="proj.legacy")) == 1
    assert len(stage.noted("on_success", task="proj.Add")) == 3
    assert [note["status"] for note in stage.noted("after_return", task="proj.Add")].count("FAILURE") == 1
    assert stage.noted("before_start", task="proj.legacy")


def test_what_the_apps_class_raises_before_it_comes_to_the_job_is_an_exception_of_the_job(stage: Stage) -> None:
    project = stage.project(FLASK_TASK.replace("CALL", "self.run(*args, **kwargs)"))
    stage.record.set("closed", 1)
    with project.worker(pool="solo"):
        printed = project.python("""
            import proj
            print(proj.Add.dispatch(2).result.get(timeout=20), proj.by_celery.delay(1).id)
        """).split()
        [failed] = stage.wait_for_failed()
    assert printed == ["3", failed.id]
    assert [note["attempt"] for note in stage.noted("start")] == [2]
    assert len(stage.noted("autoretried")) >= 2


def test_a_class_that_never_comes_to_the_job_fails_it(stage: Stage) -> None:
    project = stage.project(FLASK_TASK.replace("CALL", "None"))
    with project.worker(pool="solo"):
        project.python("import proj; proj.Add.dispatch(2)")
        [failed] = stage.wait_for_failed()
    assert "without a call of self.run or super().__call__" in failed.exception
    assert not stage.noted("start")
