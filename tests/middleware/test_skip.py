from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from laraq.messages.delivery import Done
from laraq.middleware import Skip
from tests.middleware.conftest import Deliver
from tests.middleware.works import work

RAN, SKIPPED = Done("ran"), Done(None)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (True, True),
        (False, False),
        (lambda: True, True),
        (lambda: 0, False),
        (lambda job: job.attempts == 1, True),
        (lambda job: job.attempts == 2, False),
        (lambda holds=True: holds, True),
        (lambda *given: len(given) == 1, True),
    ],
)
def test_a_condition_decides_whether_the_job_runs(
    deliver: Deliver, condition: bool | Callable[..., Any], holds: bool
) -> None:
    assert deliver(work(Skip.when(condition))) == (SKIPPED if holds else RAN)
    assert deliver(work(Skip.unless(condition))) == (RAN if holds else SKIPPED)


def test_a_callable_is_asked_in_every_run(deliver: Deliver, asynchronous: bool) -> None:
    answers = iter([True, False])
    cls = work(Skip.when(lambda: next(answers)), asynchronous=asynchronous)
    assert [deliver(cls), deliver(cls)] == [SKIPPED, RAN]


def test_an_async_condition_is_refused() -> None:
    async def condition() -> bool:
        return False

    with pytest.raises(TypeError, match="is async"):
        Skip.when(condition)
