"""`laraq prune-failed`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result

from laraq import Laraq
from laraq.messages.failure import FailedJob


@pytest.mark.parametrize(("options", "left"), [([], ["a", "b"]), (["--hours=2"], ["a"]), (["--hours=0"], [])])
def test_old_records_are_dropped(
    queue: Laraq, call: Callable[..., Result], fail: Callable[..., FailedJob], options: list[str], left: list[str]
) -> None:
    fail("a", hours_ago=1)
    fail("b", hours_ago=23)
    fail("c", hours_ago=25)
    result = call("prune-failed", *options)
    assert result.exit_code == 0
    assert result.stdout == f"Dropped {3 - len(left)} failed job{'s' * (len(left) != 2)}.\n"
    assert [each.id for each in queue.failed.all()] == left
