from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from laraq.tally import MemberState, Tally, due, happened

PENDING, DONE, FAILED, DROPPED = MemberState


@pytest.mark.parametrize(
    ("tally", "outcome", "expected"),
    [
        ({"total": 3}, None, set()),
        ({"total": 3, "done": 1}, DONE, {"progress"}),
        ({"total": 3, "done": 3}, DONE, {"progress", "then", "finally"}),
        ({"total": 3, "done": 3}, None, {"then", "finally"}),
        ({"total": 3, "done": 3, "loads": 1}, DONE, {"progress"}),
        ({"total": 3, "failed": 1}, FAILED, {"catch"}),
        ({"total": 3, "failed": 1, "allow_failures": True}, FAILED, {"progress", "failure", "catch"}),
        ({"total": 3, "done": 2, "failed": 1}, DONE, {"progress", "finally"}),
        ({"total": 3, "done": 2, "failed": 1}, FAILED, {"catch", "finally"}),
        ({"total": 3, "done": 1, "failed": 1, "dropped": 1}, FAILED, {"catch", "finally"}),
        ({"total": 3, "done": 2, "dropped": 1}, None, {"finally"}),
        ({"total": 3, "done": 3, "cancelled_at": datetime.now(UTC)}, DONE, {"progress", "then", "finally"}),
        ({}, None, {"then", "finally"}),
        ({"loads": 1}, None, set()),
    ],
)
def test_what_happened_is_read_from_the_counts_and_the_outcome(
    tally: dict[str, Any], outcome: MemberState | None, expected: set[str]
) -> None:
    assert happened(Tally(id="b", **tally), outcome) == expected


@pytest.mark.parametrize(
    ("wants", "sent", "expected"),
    [
        ({"progress", "catch", "failure", "then", "finally"}, set(), ["progress", "failure", "catch", "finally"]),
        ({"progress", "catch", "finally"}, {"catch"}, ["progress", "finally"]),
        ({"before", "then"}, set(), []),
        ({"finally"}, {"finally"}, []),
        (set(), set(), []),
    ],
)
def test_due_is_what_happened_is_wanted_and_was_not_sent(wants: set[str], sent: set[str], expected: list[str]) -> None:
    tally = Tally(id="b", total=1, failed=1, allow_failures=True, wants=frozenset(wants), sent=frozenset(sent))
    assert due(tally, FAILED) == expected


@pytest.mark.parametrize(
    ("before", "outcome", "after"),
    [
        (PENDING, DONE, DONE),
        (PENDING, FAILED, FAILED),
        (PENDING, DROPPED, DROPPED),
        (FAILED, DONE, DONE),
        (FAILED, DROPPED, FAILED),
        (DROPPED, DONE, DONE),
        (DROPPED, FAILED, FAILED),
        (DONE, FAILED, DONE),
        (DONE, DROPPED, DONE),
    ],
)
def test_what_is_done_stays_done_and_only_a_run_ends_what_is_not(
    before: MemberState, outcome: MemberState, after: MemberState
) -> None:
    assert before.after(outcome) is after
