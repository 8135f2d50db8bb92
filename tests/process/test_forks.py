"""A process that forks while its other threads are in the middle of something."""

from __future__ import annotations

import threading
import time

import pytest

from laraq.process import forks
from laraq.testing.suite.forking import Child


@pytest.fixture
def thread_inside() -> threading.Event:
    """A thread that is in the middle of something until the event is set."""
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with forks.busy, forks.busy:
            inside.set()
            over.wait(10)

    threading.Thread(target=work).start()
    inside.wait()
    return over


def test_a_fork_waits_until_no_thread_is_inside(thread_inside: threading.Event) -> None:
    threading.Timer(0.3, thread_inside.set).start()
    began = time.monotonic()
    assert Child(lambda: None).wait() == 0
    assert 0.2 <= time.monotonic() - began < forks.PATIENCE


def test_but_not_for_ever(thread_inside: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a store that does not answer would stop the worker's pool."""
    monkeypatch.setattr(forks, "PATIENCE", 0.3)
    began = time.monotonic()
    assert Child(lambda: None).wait() == 0
    assert 0.3 <= time.monotonic() - began < 5
    thread_inside.set()


def test_who_is_inside_itself_may_fork_and_its_child_is_inside_alone() -> None:
    def work() -> None:
        with forks.busy:
            assert Child(lambda: None).wait() == 0

    with forks.busy:
        child = Child(work)
    assert child.wait() == 0


def test_a_lock_that_another_thread_holds_is_free_in_the_child() -> None:
    lock = forks.new_lock()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait(10)

    threading.Thread(target=hold).start()
    held.wait()

    def take() -> None:
        assert lock.acquire(timeout=1)

    assert Child(take).wait() == 0
    assert lock.locked()
    over.set()


class Kept:
    def __init__(self) -> None:
        self.mine = True
        forks.after_fork(self.leave)

    def leave(self) -> None:
        self.mine = False


def test_what_belongs_to_a_parent_is_left_to_it_for_as_long_as_somebody_has_it() -> None:
    before = len(forks._resets)
    first, second = Kept(), Kept()
    del second

    def look() -> None:
        assert not first.mine

    assert Child(look).wait() == 0
    assert first.mine
    assert len(forks._resets) == before + 1
