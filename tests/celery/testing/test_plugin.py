"""The fixtures of the pytest plugin, in the runs of a user's own tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = """
from celery import Celery
from laraq import Job, Laraq

app = Celery("shop", broker="redis://127.0.0.1:1/0")
queue = Laraq(app)

class Ship(Job):
    order_id: int
    def handle(self): done.append(self.order_id)

done = []
"""

TESTS = """
import pytest
from shop import Ship, done

{more}

@pytest.mark.parametrize("n", range(20))
def test_pushed(queue_fake, n):
    queue_fake.assert_nothing_pushed()
    Ship.dispatch(n)
    queue_fake.assert_pushed(Ship(n))

@pytest.mark.parametrize("n", range(20))
def test_dispatched(bus_fake, n):
    bus_fake.assert_nothing_dispatched()
    Ship.dispatch(n)
    bus_fake.assert_dispatched(Ship(n))

@pytest.mark.parametrize("n", range(20))
def test_drained(laraq_testing, n):
    assert laraq_testing.size == 0
    done.clear()
    Ship.dispatch(n)
    laraq_testing.drain()
    assert done == [n]
"""


def run_tests(folder: Path, *arguments: str, more: str = "") -> str:
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_shop.py").write_text(TESTS.replace("{more}", more))
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_shop.py"]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("arguments", [(), ("-n", "2")])
def test_no_fake_leaks_into_the_next_test(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shuffled = """
import random

@pytest.hookimpl
def pytest_collection_modifyitems(items):
    random.Random(7).shuffle(items)
"""
    (tmp_path / "conftest.py").write_text(f"import pytest\n{shuffled}")
    assert "60 passed" in run_tests(tmp_path, *arguments)


def test_sixty_tests_over_fakes_take_less_than_two_seconds(tmp_path: Path) -> None:
    """Of this process's time: others may keep the machine busy."""
    (tmp_path / "conftest.py").write_text(
        "import time\nbegun = time.process_time()\n"
        "def pytest_unconfigure(): print(f'it took {time.process_time() - begun} s')\n"
    )
    took = re.search(r"it took (\S+) s", run_tests(tmp_path))
    assert took is not None
    assert float(took.group(1)) < 2


def test_a_failure_shows_the_line_of_the_test_and_what_was_pushed(tmp_path: Path) -> None:
    failing = """
def test_fails(queue_fake):
    Ship.dispatch(1)
    queue_fake.assert_pushed(Ship(2))
"""
    printed = run_tests(tmp_path, "-k", "fails", more=failing)
    assert "E       AssertionError: Expected Ship(2) to be pushed, but it was not. Near misses:" in printed
    assert "test_shop.py:8: AssertionError" in printed


def test_the_plugin_itself_imports_nothing_of_laraq_that_costs(tmp_path: Path) -> None:
    code = "import sys, laraq.testing.plugin; print(*(n for n in sys.modules if n.partition('.')[0] in "
    code += "('pydantic', 'pydantic_core', 'celery', 'kombu', 'sqlalchemy', 'redis') or n == 'laraq.app'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


LIVE = """
from laraq import Bus, Failed
from shop import Ship, Bill, mark, marks

def test_a_real_worker_runs_it(laraq_worker):
    Ship.dispatch(1)
    laraq_worker.wait_until(lambda: marks() == ["1"])
    assert "Task shop.Ship" in laraq_worker.log

def test_each_test_has_a_worker_and_a_queue_of_its_own(laraq_worker):
    batch = Bus.batch([Bill(1), Bill(2)]).dispatch()
    assert batch.wait(timeout=10).processed_jobs == 2
    assert Failed.all() == []

def test_failing(laraq_worker):
    Ship.dispatch(2)
    laraq_worker.wait_until(lambda: "Task shop.Ship" in laraq_worker.log and "succeeded" in laraq_worker.log)
    assert False
"""


def test_a_real_worker(tmp_path: Path) -> None:
    shop = (
        SHOP.replace("done.append(self.order_id)", "mark(self.order_id)")
        + f"""
class Bill(Ship): ...

def mark(what):
    with open({str(tmp_path / "marks")!r}, "a") as file: print(what, file=file)

def marks():
    try: return open({str(tmp_path / "marks")!r}).read().split()
    except FileNotFoundError: return []
"""
    )
    (tmp_path / "shop.py").write_text(shop)
    (tmp_path / "test_live.py").write_text(LIVE)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_live.py"]
    printed = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=90).stdout
    assert "2 passed" in printed, printed
    assert "1 failed" in printed
    assert "--- log of laraq_worker" in printed
