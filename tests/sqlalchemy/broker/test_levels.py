from __future__ import annotations

import pytest

from laraq_sqlalchemy.broker.databases.levels import BELIEVED, Levels


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr("laraq_sqlalchemy.broker.databases.levels.time.monotonic", lambda: now[0])
    return now


def test_an_unknown_queue_is_looked_at_first(clock: list[float]) -> None:
    known = Levels()
    assert known.stale(["a"])
    known.learn(["a"], [])
    assert not known.stale(["a"])
    assert known.stale(["a", "b"])
    assert known.ranges(["a", "b"]) == [("a", 0), ("b", 0)]


def test_what_was_seen_is_believed_for_a_moment(clock: list[float]) -> None:
    known = Levels()
    known.learn(["a"], [("a", 5, 0)])
    clock[0] += BELIEVED
    assert known.stale(["a"])


def test_queues_come_before_priorities_and_high_before_low() -> None:
    known = Levels()
    known.learn(["a", "b"], [("b", 9, 1), ("a", 3, 5), ("a", 7, None), ("b", 0, None)])
    assert known.ranges(["a", "b"]) == [("a", 7), ("a", 3), ("a", 0), ("b", 9), ("b", 0)]
    assert known.ranges(["b"]) == [("b", 9), ("b", 0)]


def test_the_next_due_time_is_the_earliest_and_never_past() -> None:
    known = Levels()
    assert known.learn(["a"], []) is None
    assert known.learn(["a"], [("a", 0, 2500), ("a", 1, 4000)]) == 2.5
    assert known.learn(["a"], [("a", 0, -9)]) == 0
