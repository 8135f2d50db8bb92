from __future__ import annotations

from typing import Any

import pytest

from laraq.messages.stop_reason import StopReason
from laraq_celery.worker.steps.stop_when import StopRules

#: A worker that has taken one job, and is idle with nothing in its queues known.
SEEN: dict[str, Any] = {"memory": 100, "idle": True, "empty": False, "lived": 10.0, "taken": 1}


@pytest.mark.parametrize(
    ("rules", "seen", "reason"),
    [
        (StopRules(), {"empty": False}, None),
        (StopRules(max_jobs=1), {}, StopReason.MAX_JOBS),
        (StopRules(max_jobs=1), {"idle": False}, None),
        (StopRules(max_jobs=2), {}, None),
        (StopRules(max_time=10), {"idle": False}, StopReason.MAX_TIME),
        (StopRules(max_time=11), {}, None),
        (StopRules(memory=100), {"idle": False}, StopReason.MEMORY),
        (StopRules(memory=101), {}, None),
        (StopRules(when_empty=True), {"empty": True}, StopReason.EMPTY),
        (StopRules(when_empty=True), {}, None),
        (StopRules(1, True, 0, 1, 1), {"empty": True}, StopReason.MEMORY),
        (StopRules(1, True, 0, 1, 0), {"empty": True}, StopReason.EMPTY),
        (StopRules(1, True, 0, 1, 0), {}, StopReason.MAX_TIME),
    ],
)
def test_why_a_worker_stops(rules: StopRules, seen: dict[str, Any], reason: StopReason | None) -> None:
    assert rules.reason(**{**SEEN, **seen}) is reason


@pytest.mark.parametrize(
    ("rules", "idle_for", "asks"),
    [
        (StopRules(when_empty=True), 0.0, True),
        (StopRules(when_empty=True), None, False),
        (StopRules(when_empty_for=5), 4.9, False),
        (StopRules(when_empty_for=5), 5.0, True),
        (StopRules(when_empty_for=5), None, False),
        (StopRules(max_jobs=1), 60.0, False),
    ],
)
def test_when_a_worker_asks_whether_its_queues_are_empty(rules: StopRules, idle_for: float | None, asks: bool) -> None:
    assert rules.asks(idle_for) is asks


def test_options_beat_settings() -> None:
    settings = StopRules(max_jobs=5, max_time=60)
    assert StopRules(max_jobs=1, when_empty=True).or_else(settings) == StopRules(1, True, 0, 60)
