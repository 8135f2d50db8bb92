"""What `laraq work` says of a run: pure, so these are tables."""

from __future__ import annotations

from datetime import datetime

import pytest
from celery import states

from laraq.cli.run_line import RunLine, duration
from laraq.messages.delivery import Delivery, Done, Fail, Obstacle, Release, Superseded, Verdict
from laraq.messages.payload import Payload
from laraq.running.run import Run
from laraq.running.settlement import Settlement
from laraq_celery.command.narrator import outcome

AT = datetime(2026, 11, 21, 20, 29, 56)


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        (RunLine(AT, "shop.Note", "1", "RUNNING"), None, "2026-11-21 20:29:56  shop.Note  1  RUNNING"),
        (RunLine(AT, "shop.Note", "1", "DONE", 0.0042), None, "2026-11-21 20:29:56  shop.Note  1  4 ms  DONE"),
        (RunLine(AT, "shop.Note", "1", "DONE", 2), 50, "2026-11-21 20:29:56  shop.Note  1 ... 2.00 s  DONE"),
        (RunLine(AT, "shop.Note", "1", "FAIL"), 50, "2026-11-21 20:29:56  shop.Note  1 ........... FAIL"),
        (RunLine(AT, "N", "1", "FAIL", None, ("queue q",)), 20, "2026-11-21 20:29:56  N  1 (queue q) ... FAIL"),
        (RunLine(AT, "evil\x1b[2J\nname", "1", "DONE"), None, "2026-11-21 20:29:56  evil\ufffd[2J name  1  DONE"),
    ],
)
def test_a_line(line: RunLine, width: int | None, expected: str) -> None:
    assert line.text(width) == expected


def test_only_its_status_is_coloured() -> None:
    assert RunLine(AT, "N", "1", "DONE").text(coloured=True) == "2026-11-21 20:29:56  N  1  \x1b[32m\x1b[1mDONE\x1b[0m"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1.00 s"),
        (59.999, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("state", "verdict", "expected"),
    [
        (states.SUCCESS, Done(), "DONE"),
        (states.SUCCESS, Superseded(), "SKIPPED"),
        (states.SUCCESS, None, "DONE"),
        (states.FAILURE, Fail(ValueError()), "FAIL"),
        (states.RETRY, Release(), "RELEASED"),
        (states.RETRY, "parked", "PARKED"),
        (states.RETRY, None, "RELEASED"),
        (states.REJECTED, None, "RELEASED"),
        (states.IGNORED, None, "SKIPPED"),
        (states.IGNORED, Done(), "DONE"),
        (states.IGNORED, Fail(ValueError()), "FAIL"),
    ],
)
def test_the_outcome_in_a_word(state: str, verdict: Verdict | str | None, expected: str) -> None:
    settled = None
    if verdict is not None:
        run = Run(Delivery(Payload("1", "shop.Note"), 1, "q", "default"))
        settled = Settlement(run, Release(), parked=Obstacle()) if verdict == "parked" else Settlement(run, verdict)
    assert outcome(state, settled) == expected
