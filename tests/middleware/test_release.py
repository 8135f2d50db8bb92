from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from laraq.messages import delivery
from laraq.messages.delivery import Done
from laraq.middleware import Release
from tests.middleware.conftest import Deliver
from tests.middleware.works import work


@pytest.mark.parametrize("condition", [True, lambda: True, lambda job: job.attempts == 1])
def test_a_condition_that_holds_releases_or_lets_run(deliver: Deliver, condition: Any) -> None:
    assert deliver(work(Release.when(condition))) == delivery.Release(0)
    assert deliver(work(Release.unless(condition))) == Done("ran")


@pytest.mark.parametrize("condition", [False, lambda: False, lambda job: job.attempts == 2])
def test_a_condition_that_does_not_hold_lets_run_or_releases(deliver: Deliver, condition: Any) -> None:
    assert deliver(work(Release.when(condition))) == Done("ran")
    assert deliver(work(Release.unless(condition))) == delivery.Release(0)


@pytest.mark.parametrize("after", [60, timedelta(minutes=1)])
def test_after_is_the_delay(deliver: Deliver, asynchronous: bool, after: Any) -> None:
    cls = work(Release.when(lambda job: job.attempts == 1, after), asynchronous=asynchronous)
    assert deliver(cls) == delivery.Release(60)
    assert deliver(cls, attempt=2) == Done("ran")
    assert deliver(work(Release.unless(False, after=after))) == delivery.Release(60)
