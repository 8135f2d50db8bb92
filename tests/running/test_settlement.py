"""What the books of a run are is decided by its verdict and its message, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from laraq.messages.delivery import Delivery, Done, Fail, Obstacle, Release, Superseded, Verdict
from laraq.messages.payload import Payload
from laraq.running.run import Run
from laraq.running.settlement import Settlement, settlement

LINK = {"tail": [{"job": "shop.Next"}]}
WAITS = Obstacle(lock="k")


def run_of(verdict: Verdict, sent: dict[str, Any], became: dict[str, Any] | None = None) -> Run:
    run = Run(Delivery(Payload("1", "shop.Note", **sent), 1, "q", "default"), verdict=verdict)
    run.payload = run.payload.with_(**(became or {}))
    return run


@pytest.mark.parametrize(
    ("verdict", "sent", "offers", "expected"),
    [
        # Nothing follows: the end alone is noted.
        (Done(), {}, {}, {}),
        # What follows is sent after the journal knows.
        (Done(), {"chain": LINK}, {}, {"noted": True}),
        (Done(), {"batch_id": "b"}, {}, {"noted": True}),
        (Done(), {"batch_id": "b", "chain": LINK}, {"counts_at_once": True}, {"noted": True}),
        (Done(), {"batch_id": "b", "event": "then"}, {"can_hand_over": True}, {"noted": True}),
        # The batch's own count is the note.
        (Done(), {"batch_id": "b"}, {"counts_at_once": True}, {}),
        # Only the batch follows, and the host notifies it.
        (Done(), {"batch_id": "b"}, {"can_hand_over": True}, {"handed_over": True}),
        (Done(), {"batch_id": "b"}, {"can_hand_over": True, "counts_at_once": True}, {"handed_over": True}),
        (Done(), {"batch_id": "b", "chain": LINK}, {"can_hand_over": True}, {"noted": True}),
        (Done(), {"batch_id": "b"}, {"can_hand_over": True, "journalled": False}, {}),
        # Another one does the work of a superseded job.
        (Superseded(), {"batch_id": "b", "chain": LINK}, {"can_hand_over": True}, {}),
        (Fail(ValueError()), {"batch_id": "b", "chain": LINK}, {"can_hand_over": True}, {}),
        (Release(5), {"batch_id": "b"}, {"can_hand_over": True, "can_park": True}, {}),
        (Release(5, obstacle=WAITS), {}, {"can_park": True}, {"parked": WAITS}),
        (Release(5, obstacle=WAITS), {}, {}, {}),
    ],
)
def test_what_is_decided(
    verdict: Verdict, sent: dict[str, Any], offers: dict[str, bool], expected: dict[str, Any]
) -> None:
    run = run_of(verdict, sent)
    given = {"journalled": True, "counts_at_once": False, **offers}
    assert settlement(run, **given) == Settlement(run, verdict, **expected)  # type: ignore[arg-type] # only flags


def test_a_chain_that_a_job_has_changed_is_not_noted_for_another_start_changes_it_again() -> None:
    run = run_of(Done(), {"batch_id": "b"}, {"chain": LINK})
    assert not settlement(run, journalled=True, can_hand_over=False, counts_at_once=True).noted


def test_a_run_that_the_host_steers_is_not_handed_over() -> None:
    run = run_of(Done(), {"batch_id": "b"})
    run.steering = KeyError()
    assert not settlement(run, journalled=True, can_hand_over=True, counts_at_once=True).handed_over


def test_only_a_success_is_counted_as_done() -> None:
    for verdict, counted in ((Done(), True), (Superseded(), False), (Fail(ValueError()), False), (Release(), False)):
        assert Settlement(run_of(verdict, {"batch_id": "b"}), verdict).counted is counted
