"""What the log says of a job that starts again."""

from __future__ import annotations

import pytest

from tests.life.conftest import Stage

JOBS = """
queue.settings

class Flaky(Job):
    tries = 3
    backoff = [1, 0]

    def handle(self):
        if self.attempts < 3:
            raise ConnectionError("the bank does not answer\\nat all")
        note("over")

class Killed(Job):
    tries = 2

    def handle(self):
        if self.attempts < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        note("over")

class Polite(Job):
    tries = 0

    def handle(self):
        if self.attempts < 2:
            return self.release(1)
        note("over")

class Secret(Job):
    pin: str
    tries = 2
    encrypted = True

    def handle(self):
        if self.attempts < 2:
            raise ValueError(self.pin)
        note("over")

@app.task(base=LaraqTask, bind=True, tries=2, name="opted")
def opted(self):
    if self.request.retries < 1:
        raise KeyError("x")
    note("over")
"""
KEY = "app.conf.laraq_keys = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']\n"


@pytest.mark.parametrize(("level", "shown"), [("INFO", True), ("WARNING", False)])
def test_a_retry_names_job_attempt_wait_and_error(redis_stage: Stage, level: str, shown: bool) -> None:
    project = redis_stage.project(JOBS.replace("queue.settings", KEY))
    with project.worker(args=["--loglevel", level], await_ready=False) as worker:
        ids = project.python("""
            import proj
            for job in (proj.Flaky(), proj.Killed(), proj.Polite(), proj.Secret("4711")):
                print(job.dispatch().id)
            print(proj.opted.delay().id)
        """).split()
        redis_stage.wait_for("over", times=5)
        assert worker.terminate() == 0
        log = worker.log
    flaky, killed, polite, secret, opted = ids
    no_answer = r"ConnectionError('the bank does not answer\nat all')"
    again = f"Job proj.Flaky[{flaky}] is retried: attempt"
    assert f"WARNING/ForkPoolWorker-1] {again} 1 of 3, next in 1 s: {no_answer}" in log
    assert f"{again} 2 of 3, next at once: {no_answer}" in log
    assert f"Job proj.Killed[{killed}] is retried: attempt 1 of 2, next at once: JobLostError" in log
    assert f"Job proj.Secret[{secret}] is retried: attempt 1 of 2, next at once: ValueError\n" in log
    assert f"Job opted[{opted}] is retried: attempt 1 of 2, next at once: KeyError" in log
    assert (f"Job proj.Polite[{polite}] was released: attempt 1, next in 1 s" in log) == shown
    assert ('raise ConnectionError("the bank' in log) == shown
    assert "4711" not in log
