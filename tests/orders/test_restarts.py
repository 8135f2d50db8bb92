from __future__ import annotations

import pytest

from laraq.orders.board import Order
from laraq.orders.restarts import is_restarted


@pytest.mark.parametrize(
    ("at_start", "now", "restarted"),
    [
        (None, None, False),
        (None, "a", True),
        ("a", "a", False),
        ("a", "b", True),
        ("a", None, False),
    ],
)
def test_an_order_that_was_not_there_at_the_start_is_a_restart(
    at_start: str | None, now: str | None, restarted: bool
) -> None:
    before, after = ({"restart": Order(token)} if token else {} for token in (at_start, now))
    assert is_restarted(before, after) is restarted
