from __future__ import annotations

import logging
import os
import threading

import pytest

from laraq.errors import StoreError
from laraq_kombu import Heartbeat
from tests.support.waiting import wait_until


class Patient:
    """Counts beats and says whether to go on."""

    def __init__(self) -> None:
        self.beats = 0
        self.busy = False
        self.down = False
        self.beat_in: set[int] = set()

    def __call__(self) -> bool:
        self.beats += 1
        self.beat_in.add(threading.get_ident())
        if self.down:
            raise StoreError("the store is down")
        return self.busy


def test_it_beats_in_a_thread_of_its_own_while_attached() -> None:
    patient = Patient()
    heart = Heartbeat(patient, 0.01)
    heart.attach()
    wait_until(lambda: patient.beats >= 3)
    heart.detach()
    wait_until(lambda: not _heart_threads())
    assert threading.get_ident() not in patient.beat_in


def test_the_interval_may_be_another_each_time() -> None:
    patient = Patient()
    intervals = iter([0.0, 0.0, 600.0])
    heart = Heartbeat(patient, lambda: next(intervals))
    heart.attach()
    wait_until(lambda: patient.beats == 2)
    assert patient.beats == 2
    heart.detach()
    wait_until(lambda: not _heart_threads())


def test_it_outlives_its_connections_while_something_is_held() -> None:
    patient = Patient()
    patient.busy = True
    heart = Heartbeat(patient, 0.01)
    heart.attach()
    heart.detach()
    seen = patient.beats
    wait_until(lambda: patient.beats > seen + 3)
    patient.busy = False
    wait_until(lambda: not _heart_threads())


def test_attaching_again_starts_it_again() -> None:
    patient = Patient()
    heart = Heartbeat(patient, 0.01)
    for _ in range(2):
        heart.attach()
        seen = patient.beats
        wait_until(lambda seen=seen: patient.beats > seen)  # type: ignore[misc]  # a default binds the loop's value
        heart.detach()
        wait_until(lambda: not _heart_threads())


def test_a_store_that_is_down_does_not_stop_it(caplog: pytest.LogCaptureFixture) -> None:
    patient = Patient()
    patient.down = True
    heart = Heartbeat(patient, 0.01)
    with caplog.at_level(logging.WARNING):
        heart.attach()
        wait_until(lambda: patient.beats >= 3)
        patient.down = False
        seen = patient.beats
        wait_until(lambda: patient.beats > seen + 1)
    heart.detach()
    wait_until(lambda: not _heart_threads())
    assert "the store is down" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_fork_happens_in_the_middle_of_a_beat() -> None:
    inside, go_on = threading.Event(), threading.Event()
    left = threading.Event()

    def beat() -> bool:
        inside.set()
        go_on.wait(10)
        left.set()
        return False

    heart = Heartbeat(beat, 0.01)
    heart.attach()
    inside.wait(10)
    threading.Timer(0.05, go_on.set).start()
    child = os.fork()
    if not child:
        os._exit(0 if left.is_set() else 1)
    assert os.waitpid(child, 0)[1] == 0
    heart.detach()
    wait_until(lambda: not _heart_threads())


def _heart_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "laraq-heartbeat"]
