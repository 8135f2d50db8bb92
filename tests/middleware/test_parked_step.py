"""The thread of steps/parked.py beside a pool that forks."""

from __future__ import annotations

import threading
import time

import pytest

from laraq.testing.suite.forking import Child
from laraq_celery.steps import parked


def test_a_fork_waits_for_the_thread_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fork that holds what the thread waits for would stop the worker."""
    monkeypatch.setattr(parked, "PATIENCE", 0.3)
    parked._watch_forks()
    holding, over = threading.Event(), threading.Event()

    def look() -> None:
        with parked._between_looks:
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
