"""Turns in a real event loop: taken soon after a poke, in time after a plan, and never in vain for each settlement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kombu.asynchronous import Hub

from laraq_kombu import Turns


class Work:
    """What the turns are for: `due` is when there is something to do, by the monotonic clock."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.turns: list[float] = []
        self.during: Callable[[], None] = lambda: None

    def pump(self) -> bool:
        self.turns.append(time.monotonic())
        if self.due is not None and self.due <= time.monotonic():
            self.due = None
            self.during()
            return True
        return False

    def wait(self) -> float | None:
        return None if self.due is None else max(self.due - time.monotonic(), 0.0)


class Loop:
    """A hub as a worker has it."""

    def __init__(self) -> None:
        self.work = Work()
        self.turns = Turns(self.work.pump, self.work.wait)
        self.turns.open()
        self.hub = Hub()
        self.turns.join(self.hub)
        self.hub.add_reader(self.turns.socket, self._on_poke)
        self._loop = self.hub.create_loop()
        # A worker's loop has timers of its own, the next far away.
        self.hub.call_later(5, lambda: None)

    def _on_poke(self) -> None:
        self.turns.quiet()
        self.turns.take()

    def run_until(self, done: Callable[[], bool], seconds: float = 3) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "the loop slept"
            next(self._loop)

    def close(self) -> None:
        self.hub.remove(self.turns.socket)
        self.turns.close()
        self.hub.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def started(loop: Loop) -> None:
    """Let the turns know whose thread the loop is."""
    loop.turns.poke()
    loop.run_until(lambda: bool(loop.work.turns))
    loop.work.turns.clear()


def test_a_poke_from_another_thread_brings_a_turn(loop: Loop) -> None:
    threading.Timer(0.05, loop.turns.poke).start()
    loop.run_until(lambda: bool(loop.work.turns), seconds=2)


def test_a_turn_plans_the_next(loop: Loop) -> None:
    started(loop)
    due = loop.work.due = time.monotonic() + 0.1
    loop.turns.poke()
    loop.run_until(lambda: loop.work.due is None)
    assert due <= loop.work.turns[-1] < due + 0.5
    assert len(loop.work.turns) <= 3


def test_settlements_in_the_loop_cost_no_turn_each(loop: Loop) -> None:
    started(loop)

    def settle() -> None:
        loop.work.due = time.monotonic() + 0.1
        loop.turns.reconsider()

    for _ in range(50):
        loop.hub.call_soon(settle)
        loop.run_until(lambda: loop.hub._ready == set())
    loop.run_until(lambda: loop.work.due is None)
    assert len(loop.work.turns) <= 2


def test_a_settlement_in_another_thread_brings_a_turn(loop: Loop) -> None:
    started(loop)
    loop.work.due = time.monotonic()
    thread = threading.Thread(target=loop.turns.reconsider)
    thread.start()
    thread.join()
    loop.run_until(lambda: loop.work.due is None)


def test_what_work_begun_by_a_timer_leaves_to_the_loop_is_not_forgotten(loop: Loop) -> None:
    """A solo pool runs its job within the turn, and acknowledges by `call_soon`."""
    started(loop)
    called: list[float] = []
    loop.work.during = lambda: loop.hub.call_soon(lambda: called.append(time.monotonic())) and None
    loop.work.due = time.monotonic() + 0.05
    loop.turns.poke()
    loop.run_until(lambda: bool(called), seconds=2)
    assert called[0] < loop.work.turns[-1] + 0.5


def test_a_timer_that_the_hub_forgot_is_set_again(loop: Loop) -> None:
    """Celery clears the timers of its hub when a connection is lost."""
    started(loop)
    loop.work.due = time.monotonic() + 0.05
    loop.hub.call_soon(loop.turns.reconsider)
    loop.run_until(lambda: loop.hub._ready == set())
    loop.hub.timer.clear()
    time.sleep(0.1)
    due = loop.work.due = time.monotonic() + 0.05
    loop.hub.call_soon(loop.turns.reconsider)
    loop.hub.call_later(5, lambda: None)
    loop.run_until(lambda: loop.work.due is None, seconds=2)
    assert due <= loop.work.turns[-1] < due + 0.5


def test_a_closed_one_takes_no_poke() -> None:
    turns = Turns(lambda: False, lambda: None)
    turns.poke()
    turns.open()
    turns.close()
    turns.poke()
    assert turns.socket is None
