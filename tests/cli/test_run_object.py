from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from laraq.cli.run_object import RunObject

AT = datetime(2026, 11, 21, 20, 29, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error", "is_secret", "expected"),
    [
        ("RUNNING", None, False, ("info", "running", None, None)),
        ("DONE", None, False, ("info", "done", None, None)),
        ("RELEASED", ValueError("no"), False, ("warning", "released", "builtins.ValueError", "no")),
        ("FAIL", ValueError("no"), False, ("error", "fail", "builtins.ValueError", "no")),
        ("FAIL", ValueError("no"), True, ("error", "fail", "builtins.ValueError", None)),
    ],
)
def test_an_object_per_event(
    status: str, error: Exception | None, is_secret: bool, expected: tuple[str | None, ...]
) -> None:
    text = RunObject("shop.Note", "1", status, "default", "high", 2, 0.5, error, is_secret).text(AT)
    assert "\n" not in text
    told = json.loads(text)
    assert tuple(told[name] for name in ("level", "status", "exception", "message")) == expected
    assert [told[name] for name in ("id", "job", "connection", "queue", "attempts", "duration")] == [
        "1", "shop.Note", "default", "high", 2, 0.5
    ]  # fmt: skip
    assert told["timestamp"] == "2026-11-21T20:29:56+00:00"
