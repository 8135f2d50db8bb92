"""A store is all that a broker of another kind needs."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from laraq_kombu import Posting
from laraq_kombu.suite import RETRY_AFTER, BindingsSuite, OpenStore, QueuesSuite, ReservationsSuite
from tests.kombu.memory import MemoryStore
from tests.support.waiting import wait_until


class TestMemory(ReservationsSuite, QueuesSuite, BindingsSuite):
    test_a_forked_child_opens_its_own_connections = None  # it would have to share the memory

    @pytest.fixture
    def open_store(self) -> OpenStore:
        name = str(uuid4())
        return lambda: MemoryStore(name, RETRY_AFTER)


@pytest.fixture(params=["laraq-memory", "laraq-plain"])
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    app = Celery("third", broker=f"{request.param}:///{uuid4()}", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="again", shared=False, bind=True, max_retries=2)
    def again(self: Any) -> tuple[int, int]:
        if self.request.retries < 2:
            raise self.retry(countdown=0.2)
        return self.request.retries, self.request.attempts

    yield app
    app.close()


def store_of(app: Celery) -> MemoryStore:
    with app.connection_for_write() as connection:
        store: MemoryStore = connection.transport.store
        return store


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_it_carries_tasks_through_a_worker(app: Celery, pool: str) -> None:
    add, again = app.tasks["add"], app.tasks["again"]
    store = store_of(app)
    store.put([Posting("celery", "{")])
    # Its own default, "error", would stay with the root logger.
    with start_worker(app, pool=pool, concurrency=2, perform_ping_check=False, shutdown_timeout=20, loglevel="warning"):
        start = time.monotonic()
        delayed = add.apply_async((1, 1), countdown=0.5)
        results = [add.delay(n, 1) for n in range(100)]
        assert [result.get(timeout=10) for result in results] == list(range(1, 101))
        assert tuple(again.delay().get(timeout=10)) == (2, 1)
        assert delayed.get(timeout=10) == 2
        assert time.monotonic() - start >= 0.5
        wait_until(lambda: store.count("celery").total == 0)
        assert store.count("laraq.undecodable").pending == 1
        if app.connection_for_write().supports_exchange_type("fanout"):
            assert [*app.control.inspect(timeout=5, limit=1).ping().values()] == [{"ok": "pong"}]
