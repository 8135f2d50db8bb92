"""What a failed job does to its batch, and what the callbacks learn of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from cryptography.fernet import Fernet

from laraq import Bus, Job
from laraq.errors import ReleasedInSyncError
from tests.support.line import Line
from tests.workflow.batches.conftest import on_stores
from tests.workflow.batches.jobs import Breaks, Note, Skippable, counts, log, on_catch_of_the_chain, on_failure, watched


@on_stores
def test_the_first_failure_cancels_the_batch_and_the_others_still_run(line: Line, told: list[str]) -> None:
    batch = watched([Breaks(1), Note(2), Breaks(3), Skippable(4)]).dispatch()
    line.step()
    line.step()
    assert batch.fresh().cancelled
    assert counts(batch) == (4, 0, 1, False)
    line.work()
    assert counts(batch) == (4, 2, 2, True)
    assert Counter(log) == Counter(
        ["before", "break 1", 2, "break 3", "catch no 1", "progress", "progress", "finally"]
    ), "4 was skipped, a success"
    assert told == ["BatchDispatched", "BatchStarted", "BatchCancelled", "BatchFinished"]
    assert batch.fresh().failed_job_ids == [payload.id for payload in line.taken if payload.job == Breaks.job_name()]


@on_stores
def test_allowed_failures_cancel_nothing_and_each_is_told(line: Line, told: list[str]) -> None:
    batch = watched([Breaks(1), Note(2), Breaks(3)]).allow_failures([on_failure, on_failure]).dispatch()
    line.work()
    assert not batch.fresh().cancelled
    assert counts(batch) == (3, 1, 2, True)
    assert Counter(log) == Counter(
        ["before", "break 1", 2, "break 3", "catch no 1", "finally"]
        + ["progress"] * 3
        + ["failure no 1", "failure no 3"] * 2
    )
    assert told == ["BatchDispatched", "BatchStarted", "BatchFinished"]


@pytest.mark.parametrize("breaking", [0, 1, 2], ids=["first", "middle", "last"])
def test_wherever_a_chain_breaks_its_batch_finishes(line: Line, breaking: int) -> None:
    jobs: list[Job] = [Note(0), Note(1), Note(2)]
    jobs[breaking] = Breaks(breaking)
    inner = Bus.chain(jobs).catch(on_catch_of_the_chain)
    batch = watched([inner, Note(9)]).allow_failures().dispatch()
    line.work()
    assert counts(batch) == (4, breaking + 1, 1, True)
    assert batch.fresh().pending_jobs == 3 - breaking
    assert Counter(log) == Counter(
        ["before", 9, *range(breaking), f"break {breaking}", f"catch no {breaking}", f"chain: no {breaking}", "finally"]
        + ["progress"] * (breaking + 2)
    )


def test_an_expired_or_revoked_job_is_a_failure(line: Line) -> None:
    batch = watched([Note(1), [Note(2), Note(3)]]).allow_failures().dispatch()
    line.step()
    line.step()
    payload, _ = line.waiting.pop(0)
    line.laraq.books.failed(payload, ValueError("it was revoked"))
    line.work()
    assert counts(batch) == (3, 1, 1, True)
    assert Counter(log) == Counter(["before", 1, "progress", "progress", "catch it was revoked", "finally"])


def test_on_sync_a_batch_is_over_when_dispatch_returns(told: list[str]) -> None:
    class Releases(Note):
        def handle(self) -> None:
            self.release(5)

    pending = watched([Note(1), Breaks(2), Releases(3), [Note(4), Note(5)]]).allow_failures().on_connection("sync")
    batch = pending.dispatch()
    assert counts(batch) == (5, 3, 2, True)
    assert [entry for entry in log if entry not in ("progress",)] == [
        "before",
        1,
        "break 2",
        "catch no 2",
        4,
        5,
        "finally",
    ]
    assert told == ["BatchStarted", "BatchDispatched", "BatchFinished"]
    with pytest.raises(ReleasedInSyncError):
        Releases(1).on_connection("sync").dispatch()


def test_the_error_of_an_encrypted_job_is_kept_from_the_callbacks(store_url: str) -> None:
    class Charge(Job):
        card: str

        encrypted = True

        def handle(self) -> None:
            raise ValueError(f"card {self.card} is refused")

    with Line.attached(store=store_url, keys=[Fernet.generate_key().decode()]) as line:
        pending = watched([Charge("4111"), [Note(1), Charge("4111")]]).allow_failures(on_failure)
        batch = pending.dispatch()
        line.work()
        assert counts(batch) == (3, 1, 2, True)
        assert "4111" not in json.dumps([payload.to_dict() for payload in line.taken])
        assert "4111" not in json.dumps(batch.fresh().to_dict())
    assert "catch builtins.ValueError" in log
    assert log.count("failure builtins.ValueError") == 2
