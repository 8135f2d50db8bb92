"""Clusters of pytest-celery whose nodes are local processes, in the run of a user's own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from pytest_celery.vendors.worker import tasks

from laraq.testing.pytest_celery import LaraqBroker, LaraqSetup, LaraqWorkerContainer

SHOP = """
import os
import time
from pathlib import Path
from laraq import Job

MARKS = Path({marks!r})

class Ship(Job):
    order_id: int
    tries = 3

    def handle(self):
        with MARKS.open("a") as file:
            print(self.order_id, self.attempts, os.getppid(), file=file)
        if self.order_id == 13 and self.attempts == 1:
            time.sleep(60)

def marks(first):
    lines = MARKS.read_text().splitlines() if MARKS.exists() else []
    return [line.split() for line in lines if line.split()[0] == str(first)]
"""

CONFTEST = """
import pytest
import shop
from laraq.testing.pytest_celery import LaraqSetup

pytest_plugins = ["laraq.testing.pytest_celery"]

class Setup(LaraqSetup):
    @classmethod
    def update_app_config(cls, app):
        app.conf.broker_transport_options = {"retry_after": 3}
        app.conf.worker_concurrency = 1

@pytest.fixture
def celery_setup_cls():
    return Setup

@pytest.fixture
def default_worker_tasks(default_worker_tasks):
    return {*default_worker_tasks, shop}
"""

ONE = """
import pytest
from laraq import Bus, Failed, current
from laraq.testing.pytest_celery import LaraqWorker
from shop import Ship, marks

def test_jobs_batches_and_tasks(celery_setup):
    assert celery_setup.ready(ping=True, control=True)
    assert current() is celery_setup.queue
    Ship.dispatch(1)
    celery_setup.worker.wait_until(lambda: marks(1))
    celery_setup.worker.assert_log_exists("Task shop.Ship")
    batch = Bus.batch([Ship(2), Ship(3)]).dispatch()
    assert batch.wait(timeout=20).processed_jobs == 2
    assert Failed.all() == []

def test_nodes_are_as_pytest_celery_knows_them(celery_setup):
    worker = celery_setup.worker
    assert isinstance(worker, LaraqWorker)
    assert list(celery_setup.app.control.inspect().ping()) == [worker.hostname()]
    assert worker.container.env["CELERY_BROKER_URL"] == celery_setup.broker.config()["url"]
    assert worker.container.exec_run(["python", "-c", "import shop; print(shop.__file__)"]).exit_code == 0
    with pytest.raises(AssertionError, match="(?s)not true after 0.1 s.*ready"):
        worker.wait_until(lambda: False, 0.1)

def test_a_job_of_a_killed_worker_is_started_again(celery_setup):
    Ship.dispatch(13)
    worker = celery_setup.worker
    worker.wait_until(lambda: marks(13))
    worker.kill()
    assert worker.container.status == "exited"
    worker.restart()
    worker.wait_until(lambda: len(marks(13)) == 2, 20)
    assert [attempt for _, attempt, _ in marks(13)] == ["1", "2"]

def test_failing(celery_setup):
    assert False
"""

TWO = """
import pytest
from pytest_celery import CeleryWorkerCluster
from laraq import Bus
from shop import Ship, marks

@pytest.fixture
def celery_worker_cluster(celery_worker, start_laraq_worker, default_worker_cls, default_worker_app):
    return CeleryWorkerCluster(celery_worker, default_worker_cls(start_laraq_worker(), default_worker_app))

def test_what_one_worker_leaves_the_other_does(celery_setup):
    first, second = celery_setup.worker_cluster
    assert first.hostname() != second.hostname()
    assert celery_setup.ready(control=True)
    Ship.dispatch(13)
    first.wait_until(lambda: marks(13))
    [(_, _, ran_by)] = marks(13)
    dying, other = (first, second) if int(ran_by) == first.container._container.program.pid else (second, first)
    dying.kill()
    other.wait_until(lambda: len(marks(13)) == 2, 20)
    assert int(marks(13)[1][2]) == other.container._container.program.pid
"""


REDIS = """
import pytest
from laraq import Bus
from shop import Ship, marks

@pytest.fixture
def celery_broker(laraq_redis_broker):
    return laraq_redis_broker

def test_jobs_outlive_the_broker_and_its_loss_is_survived_by_the_worker(celery_setup):
    assert celery_setup.broker.config()["url"].startswith("laraq-redis://")
    Ship.dispatch(1)
    celery_setup.worker.wait_until(lambda: marks(1))
    celery_setup.worker.kill()
    batch = Bus.batch([Ship(2), Ship(3)]).dispatch()
    celery_setup.broker.kill()
    assert celery_setup.broker.container.status == "exited"
    celery_setup.broker.restart()
    celery_setup.worker.restart()
    assert celery_setup.ready(ping=True)
    assert batch.wait(timeout=20).processed_jobs == 2
    celery_setup.broker.restart()
    Ship.dispatch(4)
    celery_setup.worker.wait_until(lambda: marks(4), 30)
"""


@pytest.mark.fault
@pytest.mark.parametrize(("tests", "outcome"), [(ONE, "1 failed, 3 passed"), (TWO, "1 passed"), (REDIS, "1 passed")])
def test_a_cluster(tmp_path: Path, tests: str, outcome: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(marks=str(tmp_path / "marks")))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_cluster.py").write_text(tests)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert outcome in done.stdout, done.stdout + done.stderr
    assert ("--- log of laraq-" in done.stdout) == ("failed" in outcome)


class StoreElsewhere(LaraqSetup):
    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        app.conf.laraq_store = "redis://broker/1"


def test_the_workers_app_has_laraq_and_the_configuration_of_the_tests_app() -> None:
    app = StoreElsewhere.create_setup_app({"broker_url": "redis://broker/0"}, "shop")
    text = LaraqWorkerContainer.initial_content(worker_tasks={tasks}, worker_app=app)["app.py"].decode()
    assert "app = Celery('shop')" in text
    assert "'laraq_store': 'redis://broker/1'" in text
    assert text.endswith("queue = Laraq(app)\n")


def test_files_are_no_server_that_could_be_lost(tmp_path: Path) -> None:
    broker = LaraqBroker.in_folder(tmp_path)
    assert broker.config()["url"] == f"laraq-db+sqlite:///{tmp_path}/laraq.sqlite3"
    broker.restart()
    with pytest.raises(NotImplementedError, match="no process that could be killed"):
        broker.kill()
