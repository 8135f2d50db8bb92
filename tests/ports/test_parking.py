"""Whose turn it is in a line."""

from __future__ import annotations

import pytest

from laraq.ports import Demand, Line, ParkedJob, Turn, Usage, turn_at_limits, turn_at_lock

A, B = (ParkedJob(Line("app", "lock"), owner, "") for owner in "ab")


def limited(owner: str, *demands: Demand) -> ParkedJob:
    return ParkedJob(Line("app", None, tuple(demand.key for demand in demands)), owner, "", demands=demands)


@pytest.mark.parametrize(
    ("lease", "expected"), [(None, Turn([A], 2)), (0.5, Turn([], 0.5)), (60, Turn([], 2)), (0.0, Turn([], 0))]
)
def test_a_free_lock_is_the_turn_of_the_first_and_a_held_one_of_none(lease: float | None, expected: Turn) -> None:
    assert turn_at_lock([A, B], lease, look=2) == expected


def test_a_free_lock_without_a_line_is_nobodys_turn() -> None:
    assert turn_at_lock([], None, look=2) == Turn([], 2)


def test_it_is_the_turn_of_as_many_as_the_window_has_room_for_and_of_none_behind() -> None:
    jobs = [limited(owner, Demand("k", 5, 60, cost)) for owner, cost in (("a", 2), ("b", 2), ("c", 1))]
    assert turn_at_limits(jobs, [Usage(0, 30)], 0, look=2) == Turn(jobs, 2)
    assert turn_at_limits(jobs, [Usage(1, 30)], 0, look=2) == Turn(jobs[:2], 30)
    assert turn_at_limits(jobs, [Usage(2, 30)], 0, look=2) == Turn(jobs[:1], 30)


def test_the_next_look_is_when_the_last_full_window_is_over() -> None:
    job = limited("a", Demand("k", 1, 60), Demand("l", 1, 60), Demand("m", 9, 60))
    assert turn_at_limits([job], [Usage(1, 7), Usage(1, 9), Usage(1, 50)], 0, look=2) == Turn([], 9)


def test_a_window_that_has_not_begun_ends_where_it_is_aligned() -> None:
    job = limited("a", Demand("k", 0, 60))
    assert turn_at_limits([job], [Usage(0, 0.0)], 59_000, look=2) == Turn([], 1)
