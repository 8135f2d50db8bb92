from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from celery import Celery

from laraq import Job, Laraq
from laraq.limits.limits import RateLimiter
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Crash, Delivery, Verdict
from laraq.ports import Store
from laraq_redis import RedisStore

#: Starts a job and says what became of it.
Deliver: TypeAlias = Callable[..., Verdict]


@pytest.fixture(autouse=True)
def no_limiters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimiter, "_callbacks", {})


@pytest.fixture
def redis_store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore.from_url(redis_url)
    yield store
    store.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn, empty."""
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("redis_store")


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Whether the handler is async: both in turn."""
    return bool(request.param)


def attached(store: Store) -> Laraq:
    """A Laraq of an app of its own, which keeps its records in that store."""
    return Laraq(Celery("t", broker="memory://", set_as_current=False), store=store)


@pytest.fixture
def queue(store: Store) -> Iterator[Laraq]:
    with attached(store) as queue:
        yield queue


def delivered(
    queue: Laraq,
    job: Job | type[Job],
    *,
    id: str | None = None,
    attempt: int = 1,
    crash: Crash | None = None,
    last: bool = False,
    **changes: Any,
) -> Verdict:
    """One start of the job."""
    job = job() if isinstance(job, type) else job
    payload = queue.packer.payload(job, id or str(uuid4())).with_(attempts=attempt - 1, **changes)
    return queue.runner.run(Delivery(payload, attempt, "default", "default", crash, last)).verdict


@pytest.fixture
def deliver(queue: Laraq) -> Deliver:
    def deliver(job: Job | type[Job], **given: Any) -> Verdict:
        return delivered(queue, job, **given)

    return deliver
