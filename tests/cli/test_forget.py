"""`laraq forget`."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

from laraq import Laraq
from laraq.messages.failure import FailedJob


def test_a_record_is_dropped(queue: Laraq, call: Callable[..., Result], fail: Callable[..., FailedJob]) -> None:
    fail("a")
    fail("b")
    result = call("forget", "a")
    assert (result.exit_code, result.stdout) == (0, "Forgotten: a\n")
    assert [each.id for each in queue.failed.all()] == ["b"]


def test_an_unknown_id_is_a_problem_and_the_others_go(
    queue: Laraq, call: Callable[..., Result], fail: Callable[..., FailedJob]
) -> None:
    fail("a")
    result = call("forget", "nobody", "a")
    assert (result.exit_code, result.stdout) == (1, "Forgotten: a\n")
    assert result.stderr == "Error: No failed job has the id nobody.\n"
    assert queue.failed.all() == []
