"""An attached app in this process, for commands that only talk to the store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner, Result

from laraq import Laraq
from laraq.cli import laraq
from laraq.messages.failure import FailedJob
from laraq.messages.payload import Payload

NOW = datetime.now(UTC)


@pytest.fixture
def queue(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laraq]:
    """Attached to an app on an empty Redis."""
    monkeypatch.setattr(sys.modules["laraq.current"], "_default", [])
    attached = Laraq(Celery("shop", broker=redis_url, set_as_current=False))
    yield attached
    attached.store.close()


@pytest.fixture
def call(queue: Laraq) -> Callable[..., Result]:
    """Calls a command as the program `celery` does: the app is in the context."""

    def call(*arguments: str) -> Result:
        app: Any = queue.host
        return CliRunner().invoke(laraq, arguments, obj=SimpleNamespace(app=app.app), catch_exceptions=False)

    return call


@pytest.fixture
def fail(queue: Laraq) -> Callable[..., FailedJob]:
    """Puts a failed job into the store."""

    def fail(id: str, *, hours_ago: float = 0, job: str = "shop.Note", **values: Any) -> FailedJob:
        failed = FailedJob(
            **{
                "id": id,
                "connection": "default",
                "queue": "celery",
                "job": job,
                "payload": Payload(id, job, {"n": 1}).to_dict(),
                "exception": "ValueError: no",
                "failed_at": NOW - timedelta(hours=hours_ago),
                "attempts": 1,
                **values,
            }
        )
        queue.failed.record(failed)
        return failed

    return fail
