"""The mixins for unittest in a user's project: a real worker, and Celery's tasks beside jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.celery.testing.test_plugin import SHOP

WITH_MARKS = """
from pathlib import Path

@app.task
def remind(order_id): ...

class Done(list):
    def append(self, order_id):
        with Path(__file__).with_name("marks").open("a") as file: print(order_id, file=file)

done = Done()

def marks():
    file = Path(__file__).with_name("marks")
    return file.read_text().split() if file.exists() else []
"""

CASES = """
from unittest import TestCase
from laraq.testing import LaraqWorkerMixin, QueueFakeMixin
from shop import Ship, marks, remind

class FakeTest(QueueFakeMixin, TestCase):
    def test_tasks_are_seen_as_well(self):
        remind.delay(1)
        Ship.dispatch(2)
        self.queue_fake.assert_pushed_once(remind)
        self.queue_fake.assert_pushed_once(Ship)

class WorkerTest(LaraqWorkerMixin, TestCase):
    def test_a_worker_runs_it(self):
        Ship.dispatch(1)
        self.laraq_worker.wait_until(lambda: "1" in marks())

class FailingTest(LaraqWorkerMixin, TestCase):
    laraq_app = "shop:app"

    def test_fails(self):
        Ship.dispatch(2)
        self.laraq_worker.wait_until(lambda: "2" in marks())
        self.fail("on purpose")
"""


def test_a_real_worker_whose_log_is_shown_where_a_test_fails(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP + WITH_MARKS)
    (tmp_path / "test_cases.py").write_text(CASES)
    for runner in (["-m", "unittest"], ["-m", "pytest", "-q", "-p", "no:cacheprovider"]):
        run = [sys.executable, *runner, "test_cases.py"]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert "AssertionError: on purpose" in done.stdout + done.stderr
        assert "(failures=1)" in done.stderr or "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
        assert done.stdout.count("--- log of laraq_worker") == 1
