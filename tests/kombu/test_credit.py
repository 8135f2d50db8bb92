from __future__ import annotations

import pytest

from laraq_kombu import BATCH, credit


@pytest.mark.parametrize(
    ("prefetch", "outstanding", "lately", "expected"),
    [
        (8, 0, True, 8),
        (8, 4, True, 4),
        (8, 5, True, 0),
        (8, 5, False, 3),
        (8, 8, False, 0),
        (8, 9, False, 0),
        (1, 0, True, 1),
        (1, 1, False, 0),
        (2, 1, True, 1),
        (0, 1000, True, BATCH),
        (1000, 0, True, BATCH),
    ],
)
def test_credit(prefetch: int, outstanding: int, lately: bool, expected: int) -> None:
    assert credit(prefetch, outstanding, lately=lately) == expected


@pytest.mark.parametrize("prefetch", range(1, 20))
def test_no_slot_stays_free_for_longer_than_the_linger(prefetch: int) -> None:
    assert all(credit(prefetch, outstanding, lately=False) == prefetch - outstanding for outstanding in range(prefetch))
