from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Events, Job, Laraq, events
from laraq.messages.delivery import Crash, Delivery
from laraq.messages.payload import Payload
from laraq.running.run import Run

Deliver: TypeAlias = Callable[..., Run]


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    app = Celery("t", broker="memory://", set_as_current=False)
    keys = [Fernet.generate_key().decode()]
    with Laraq(app, store="memory://", keys=keys, connections={"nowhere": {"driver": "null"}}) as queue:
        yield queue


@pytest.fixture
def deliver(queue: Laraq) -> Deliver:
    """One start of a job, from its message to its settled verdict."""

    def deliver(job: Job | Payload, attempt: int = 1, crash: Crash | None = None, **changes: Any) -> Run:
        payload = job if isinstance(job, Payload) else queue.packer.payload(job, str(uuid4()))
        payload = Payload.from_dict(json.loads(json.dumps(payload.with_(**changes).to_dict())))
        run = queue.runner.run(Delivery(payload, attempt, "default", "default", crash))
        queue.books.settle(run)
        return run

    return deliver


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The names of the events so far."""
    names: list[str] = []
    with Events.listening(events.Event, lambda event: names.append(type(event).__name__)):
        yield names
