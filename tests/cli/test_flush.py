"""`laraq flush`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from laraq import Laraq
from laraq.messages.failure import FailedJob
from tests.cli.programs import LARAQ, run_in_terminal

Call = Callable[..., Result]
Fail = Callable[..., FailedJob]


def test_all_records_are_dropped(queue: Laraq, call: Call, fail: Fail) -> None:
    fail("a")
    fail("b", hours_ago=100)
    assert call("flush").stdout == "Dropped 2 failed jobs.\n"
    assert queue.failed.all() == []


def test_hours_keep_the_younger_ones(queue: Laraq, call: Call, fail: Fail) -> None:
    fail("young", hours_ago=1)
    fail("old", hours_ago=3)
    assert call("flush", "--hours", "2").stdout == "Dropped 1 failed job.\n"
    assert [each.id for each in queue.failed.all()] == ["young"]


@pytest.mark.parametrize(
    ("typed", "options", "status", "left"),
    [("n\n", [], 1, 1), ("y\n", [], 0, 0), ("", ["--force"], 0, 0)],
)
def test_a_terminal_is_asked_first(
    tmp_path: Path,
    redis_url: str,
    queue: Laraq,
    fail: Fail,
    typed: str,
    options: list[str],
    status: int,
    left: int,
) -> None:
    fail("a")
    command = [*LARAQ, "flush", *options]
    ended, screen = run_in_terminal(command, folder=tmp_path, env={"LARAQ_URL": redis_url}, typed=typed)
    assert ended == status
    assert ("Drop all failed jobs?" in screen) == (typed != "")
    assert len(queue.failed.all()) == left
