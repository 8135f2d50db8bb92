"""Threads of a worker's parent beside a pool that forks."""

from __future__ import annotations

import threading
import time

import pytest

from laraq.testing.suite.forking import Child
from laraq_celery import forks


def test_a_fork_waits_for_the_thread_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fork that holds what the thread waits for would stop the worker."""
    monkeypatch.setattr(forks, "PATIENCE", 0.3)
    lock = forks.quiet_lock()
    forks.watch_forks()
    holding, over = threading.Event(), threading.Event()

    def look() -> None:
        with lock:
            holding.set()
            over.wait(10)

    thread = threading.Thread(target=look)
    thread.start()
    holding.wait()
    began = time.monotonic()
    assert Child(lambda: None).wait() == 0
    assert 0.3 <= time.monotonic() - began < 5
    over.set()
    thread.join()
    began = time.monotonic()
    assert Child(lambda: None).wait() == 0
    assert time.monotonic() - began < 0.3
