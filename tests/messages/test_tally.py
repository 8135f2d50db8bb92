from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from laraq.messages.tally import (
    CLOSED,
    BatchRecord,
    MemberState,
    Tally,
    as_of,
    awaited,
    awaits,
    closes,
    counts_at,
    due,
    happened,
    moved,
    moves,
)

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
    ("tally", "sent", "outcome", "expected"),
    [
        ({"total": 1, "done": 1}, set(), DONE, ["then"]),
        ({"total": 1, "done": 1}, {"then"}, None, []),
        ({"total": 1, "done": 1}, {"then", "then.0"}, None, []),
        ({"total": 1, "done": 1}, {"then", "then.0", "then.1"}, None, ["finally"]),
        ({"total": 1, "done": 1}, {"then.0", "then.1"}, None, ["then", "finally"]),
        ({"total": 1, "done": 1}, {"then", "then.0", "then.1", "finally"}, None, []),
        ({"total": 2, "failed": 1}, {"catch", "catch.0"}, FAILED, []),
        ({"total": 2, "failed": 1, "done": 1}, set(), DONE, []),
        ({"total": 2, "failed": 1, "done": 1}, {"catch"}, DONE, []),
        ({"total": 2, "failed": 1, "done": 1}, {"catch", "catch.0"}, DONE, ["finally"]),
        ({"total": 2, "failed": 2}, set(), FAILED, ["catch"]),
        ({"total": 2, "done": 2}, {"catch", "then.0", "then.1"}, DONE, ["then"]),
        ({"total": 2, "done": 1, "dropped": 1}, set(), None, ["finally"]),
    ],
)
def test_finally_is_due_when_every_callback_before_it_is_over(
    tally: dict[str, Any], sent: set[str], outcome: MemberState | None, expected: list[str]
) -> None:
    callbacks = {"then": [1, 2], "catch": [1], "finally": [1]}
    wants = frozenset(callbacks) | awaited(callbacks)
    assert due(Tally(id="b", **tally, wants=wants, sent=frozenset(sent)), outcome) == expected
    earlier = Tally(id="b", total=1, done=1, wants=frozenset(callbacks))
    assert due(earlier, DONE) == ["then", "finally"], "batches of earlier versions wait for nothing"


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ({}, set()),
        ({"then": [1], "catch": [1], "progress": [1]}, set()),
        ({"before": [1, 2], "then": [1]}, {"before.0", "before.1"}),
        ({"finally": [1], "then": [1, 2], "catch": [1], "failure": [1]}, {"then.0", "then.1", "catch.0"}),
    ],
)
def test_a_callback_is_awaited_when_something_comes_after_it(
    callbacks: dict[str, list[Any]], expected: set[str]
) -> None:
    assert awaited(callbacks) == expected


@pytest.mark.parametrize(
    ("tally", "sent", "begun", "expected"),
    [
        ({"total": 1, "done": 1}, {"before.0"}, True, True),
        ({"total": 1, "done": 1}, {"before.0", CLOSED}, True, False),
        ({"total": 1}, {"before.0"}, True, False),
        ({}, set(), False, False),
        ({"total": 1, "failed": 1}, {"before.0"}, True, False),
        ({"total": 1, "failed": 1}, {"before.0", "catch"}, True, True),
    ],
)
def test_a_batch_closes_when_it_has_begun_and_its_failure_is_told(
    tally: dict[str, Any], sent: set[str], begun: bool, expected: bool
) -> None:
    callbacks = {"before": [1], "catch": [1]}
    found = Tally(id="b", **tally, wants=frozenset(callbacks) | awaited(callbacks), sent=frozenset(sent))
    assert (awaits(found, "before"), closes(found)) == (not begun, expected)
    if not begun:
        assert due(found) == []


@pytest.mark.parametrize(
    ("outcome", "later", "expected"), [(DONE, 0, (7, 2)), (DONE, 2, (5, 2)), (FAILED, 1, (7, 1)), (None, 3, (7, 2))]
)
def test_each_of_several_outcomes_told_together_has_counts_of_its_own(
    outcome: MemberState | None, later: int, expected: tuple[int, int]
) -> None:
    record = BatchRecord(id="b", total=9, done=7, failed=2, finished_at=datetime.now(UTC))
    then = as_of(record, counts_at(record, outcome, later))
    assert (then.done, then.failed) == expected
    assert (then.finished_at is None) == (expected != (7, 2))
    assert as_of(record, {}) is record


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


STATES = {"pending": PENDING, "done": DONE, "failed": FAILED, "dropped": DROPPED}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (DONE, {"pending": DONE, "failed": DONE, "dropped": DONE, "stranger": DONE}),
        (FAILED, {"pending": FAILED, "dropped": FAILED, "stranger": FAILED}),
        (DROPPED, {"pending": DROPPED, "stranger": DROPPED}),
        (PENDING, {"failed": PENDING, "dropped": PENDING, "stranger": PENDING}),
    ],
)
def test_members_move_to_an_outcome_by_the_rule_of_their_states(
    outcome: MemberState, expected: dict[str, MemberState]
) -> None:
    assert moves(STATES, outcome, [*STATES, "stranger", "pending"]) == expected


def test_only_pending_members_are_dropped_with_a_failure() -> None:
    states = {**STATES, "head": PENDING}
    assert moves(states, FAILED, ["head"], [*states, "no member"]) == {"head": FAILED, "pending": DROPPED}


@pytest.mark.parametrize("allow_failures", [False, True])
def test_moves_are_counted_and_the_last_finishes_the_batch(allow_failures: bool) -> None:
    now, later = datetime.now(UTC), datetime.max.replace(tzinfo=UTC)
    batch = BatchRecord(id="b", total=2, loads=0, allow_failures=allow_failures, sent=frozenset({"then", CLOSED}))
    failed = moved(batch, {"a": PENDING}, {"a": FAILED}, now)
    assert (failed.failed, failed.cancelled_at, failed.finished_at) == (1, None if allow_failures else now, None)
    assert failed.sent == {"then"}
    whole = moved(failed, {"a": FAILED, "b": PENDING}, {"a": DONE, "b": DROPPED, "c": DONE}, later)
    assert (whole.total, whole.done, whole.failed, whole.dropped) == (3, 2, 0, 1)
    assert (whole.cancelled_at, whole.finished_at) == (failed.cancelled_at, later)
    assert moved(whole, {"b": DROPPED}, {"b": PENDING}, later).finished_at is None
