"""The pytest plugin and the mixins beside those of Celery and of Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.celery.testing.test_plugin import SHOP
from tests.tracing.libraries import folder_of

CELERYS = """
import pytest
from laraq import Job, Laraq
from laraq.testing import LiveWorker

ran = []

class Ship(Job):
    order_id: int
    def handle(self): ran.append(self.order_id)

@pytest.fixture
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}

@pytest.fixture
def shop(celery_app):
    ran.clear()
    with Laraq(celery_app, store="memory://") as queue:
        yield queue

def test_faked(shop, queue_fake, celery_app):
    @celery_app.task
    def remind(n): ...
    remind.delay(1)
    Ship.dispatch(1)
    queue_fake.assert_pushed_once(remind)
    queue_fake.assert_pushed_once(Ship)
    assert ran == []

def test_drained(shop, laraq_testing):
    Ship.dispatch(2)
    laraq_testing.drain()
    assert ran == [2]

def test_run_by_celerys_worker_in_a_thread(shop, celery_worker):
    Ship.delay(3).get(timeout=10)
    assert ran == [3]

def test_faked_beside_celerys_worker(shop, celery_worker, bus_fake):
    Ship.dispatch(4)
    bus_fake.assert_dispatched_once(Ship)
    assert ran == []
"""


def test_celerys_own_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(CELERYS)
    # pytest-celery has fixtures of the same names, for containers.
    plugins = ["-p", "no:cacheprovider", "-p", "no:celery", "-p", "celery.contrib.pytest"]
    run = [sys.executable, "-m", "pytest", "-q", *plugins]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "4 passed" in done.stdout, done.stdout


SETTINGS = """
SECRET_KEY = "-"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes"]
"""

DJANGOS_CASES = """
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from laraq.testing import BusFakeMixin, LaraqTestingMixin, QueueFakeMixin
from shop import Ship, done

class RowTest(QueueFakeMixin, TestCase):
    def test_a_row_and_a_job(self):
        row = ContentType.objects.create(app_label="shop", model="order")
        Ship.dispatch(row.id)
        self.queue_fake.assert_pushed(Ship(row.id))

    async def test_async(self):
        await Ship(1).adispatch()
        self.queue_fake.assert_count(1)

    def test_a_job_sent_on_commit(self):
        with self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: Ship.dispatch(1))
            self.queue_fake.assert_nothing_pushed()
        self.queue_fake.assert_pushed_once(Ship)

class MixinBehindTest(TestCase, BusFakeMixin):
    def test_it(self):
        Ship.dispatch(1)
        self.bus_fake.assert_dispatched_once(Ship)

class DrainTest(LaraqTestingMixin, TransactionTestCase):
    def test_it(self):
        done.clear()
        Ship.dispatch(1)
        self.laraq_testing.drain()
        self.assertEqual(done, [1])

class WithoutDatabaseTest(QueueFakeMixin, SimpleTestCase):
    def test_it(self):
        self.queue_fake.assert_nothing_pushed()
"""

DJANGOS_FIXTURES = """
import pytest
from django.contrib.contenttypes.models import ContentType
from shop import Ship, done

@pytest.mark.django_db
def test_faked(queue_fake):
    row = ContentType.objects.create(app_label="shop", model="order")
    Ship.dispatch(row.id)
    queue_fake.assert_pushed(Ship(row.id))

def test_drained(db, laraq_testing):
    done.clear()
    row = ContentType.objects.create(app_label="shop", model="bill")
    Ship.dispatch(row.id)
    laraq_testing.drain()
    assert done == [row.id]

@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_of_its_own(bus_fake, client):
    bus_fake.assert_nothing_dispatched()
"""

# Behind what is installed beside laraq: it brings a pytest along.
DJANGO = """
import os, sys
sys.path.append({folder!r})
sys.path.insert(0, "")
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
"""

RUNNERS = {
    "django": "from django.core.management import execute_from_command_line as run; run(['manage.py', 'test'])",
    "pytest": "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))",
}


def test_django_and_its_plugin(tmp_path: Path) -> None:
    folder = folder_of("django")
    files = {"shop": SHOP, "settings": SETTINGS, "test_cases": DJANGOS_CASES, "test_fixtures": DJANGOS_FIXTURES}
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
    for runner, code in RUNNERS.items():
        run = [sys.executable, "-c", DJANGO.format(folder=str(folder)) + code]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert ("9 passed" if runner == "pytest" else "Ran 6 tests") in said, said
        assert done.returncode == 0, said
