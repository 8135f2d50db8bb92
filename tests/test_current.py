from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from celery import Celery

from laraq import Laraq, current
from laraq.current import use


def attached(name: str) -> Laraq:
    return Laraq(Celery(name, broker="memory://", set_as_current=False), store="memory://")


@pytest.fixture(autouse=True)
def nothing_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    # The function `current` hides the module of that name in the package.
    monkeypatch.setattr(sys.modules["laraq.current"], "_default", [])


def test_the_first_attached_is_the_default_and_stays_it() -> None:
    first = attached("first")
    attached("second")
    assert current() is first


def test_the_innermost_block_wins() -> None:
    first, second = attached("first"), attached("second")
    with second:
        with first:
            assert current() is first
        assert current() is second
        with second:
            assert current() is second
        assert current() is second
    assert current() is first


def test_a_block_that_raises_ends_as_well() -> None:
    first, second = attached("first"), attached("second")
    with pytest.raises(KeyError), second:
        raise KeyError
    assert current() is first


def test_use_is_the_same_as_a_function() -> None:
    first, second = attached("first"), attached("second")
    with use(second) as used:
        assert current() is used is second
    assert current() is first


def test_a_block_is_of_its_own_thread() -> None:
    first, second = attached("first"), attached("second")
    seen = []
    with second:
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [first]


def test_one_object_may_be_entered_by_two_threads_at_once() -> None:
    queue = attached("first")
    inside, left = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with queue:
                inside.set()
                left.wait(10)
        except BaseException as error:  # what a thread raises is not seen by pytest otherwise
            problems.append(error)

    thread = threading.Thread(target=work)
    with queue:
        thread.start()
        inside.wait(10)
    left.set()
    thread.join()
    assert problems == []


def test_a_block_is_of_its_own_task() -> None:
    first, second = attached("first"), attached("second")

    async def inside(queue: Laraq) -> Laraq:
        with queue:
            await asyncio.sleep(0)
            return current()

    async def main() -> list[Laraq]:
        return list(await asyncio.gather(inside(first), inside(second)))

    assert asyncio.run(main()) == [first, second]


def test_without_any_app_there_is_an_embedded_one_which_yields_to_the_first_attached() -> None:
    """In a process of its own: nothing may have been attached before."""
    code = (
        "from celery import Celery; from laraq import Laraq, current\n"
        "embedded = current()\n"
        "assert embedded.embedded and current() is embedded\n"
        "mine = Laraq(Celery('t', broker='memory://'), store='memory://')\n"
        "assert current() is mine\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


JOBS = "from laraq import Bus, Job, Laraq, Queue, lock\nclass Note(Job):\n    def handle(self): ...\n"


@pytest.mark.parametrize(
    ("code", "url", "said"),
    [
        ("Note.dispatch(); Note.dispatch(); Bus.batch([Note()]).dispatch()", None, 1),
        ("lock('report', 60).acquire()", None, 1),
        ("Note().on_connection('database').dispatch()", None, 1),
        ("print(Queue.size())", None, 1),
        ("Note.dispatch()", "sqlite:///laraq.db", 0),
        ("Laraq(); Note.dispatch()", None, 0),
        ("Note.dispatch_sync(); Note().on_connection('null').dispatch()", None, 0),
    ],
)
def test_what_goes_to_the_file_because_no_app_is_attached_is_said_once(
    code: str, url: str | None, said: int, tmp_path: Path
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LARAQ_")}
    env |= {"LARAQ_URL": url} if url else {}
    done = subprocess.run(
        [sys.executable, "-c", JOBS + code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr.count(f"go to the file {tmp_path / 'laraq.db'}. Import the module that has Laraq(app)") == said
    assert len(done.stderr.splitlines()) == said
