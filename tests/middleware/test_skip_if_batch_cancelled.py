from __future__ import annotations

from typing import Any

import pytest

from laraq import Bus, Laraq
from laraq.messages.delivery import Done
from laraq.middleware import SkipIfBatchCancelled
from tests.middleware.conftest import Deliver
from tests.middleware.works import work

RAN, SKIPPED = Done("ran"), Done(None)


@pytest.fixture
def batch_id(queue: Laraq) -> str:
    return Bus.batch([]).dispatch().id


def test_a_job_of_a_batch_runs_until_the_batch_is_cancelled(
    queue: Laraq, deliver: Deliver, batch_id: str, asynchronous: bool
) -> None:
    cls = work(SkipIfBatchCancelled(), asynchronous=asynchronous)
    assert deliver(cls, batch_id=batch_id) == RAN
    queue.batches.cancel(batch_id)
    assert deliver(cls, batch_id=batch_id) == SKIPPED


@pytest.mark.parametrize("changes", [{}, {"batch_id": "deleted"}], ids=["no batch", "a batch that is gone"])
def test_a_job_without_a_batch_runs(deliver: Deliver, changes: dict[str, Any]) -> None:
    assert deliver(work(SkipIfBatchCancelled()), **changes) == RAN


def test_middleware_behind_it_is_not_asked_for_a_skipped_job(queue: Laraq, deliver: Deliver, batch_id: str) -> None:
    asked: list[Any] = []

    def behind(job: Any, next: Any) -> Any:
        asked.append(job)
        return next(job)

    queue.batches.cancel(batch_id)
    assert deliver(work(SkipIfBatchCancelled(), behind), batch_id=batch_id) == SKIPPED
    assert asked == []
