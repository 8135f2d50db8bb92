"""A transport leaves the worker's event loop as it found it, however often its connection is cut."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from kombu.asynchronous import Hub
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer

from laraq_kombu import Posting
from laraq_sqlalchemy.broker import register
from tests.kombu.memory import BROKERS, MemoryStore
from tests.support.waiting import wait_until

register()


@pytest.fixture
def hub() -> Any:
    hub = Hub()
    yield hub
    hub.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_reconnecting_leaves_no_timer_reader_or_tick_behind(
    kind: str, request: pytest.FixtureRequest, hub: Hub
) -> None:
    url = f"laraq-memory:///{uuid4()}" if kind == "memory" else f"laraq-db+{request.getfixturevalue('sqlite_url')}"
    received: list[Any] = []
    for cut in range(4):
        connection = Connection(url, transport_options={"create_tables": True, "poll": 30})
        connection.connect()
        connection.transport.register_with_event_loop(connection.connection, hub)
        with Consumer(connection, Queue("q"), on_message=received.append):
            connection.Producer().publish({"cut": cut}, routing_key="q")
            connection.Producer().publish({"cut": cut}, routing_key="q", headers={"eta": "2999-01-01T00:00:00Z"})
            loop = hub.create_loop()
            while len(received) <= cut:
                next(loop)
            assert hub.readers
        connection.collect()  # as Celery does when it lost the connection
        connection.release()
        assert hub.readers == {}
        assert hub.on_tick == set()
        pending = [entry for _, _, entry in hub.timer._queue if not entry.canceled]
        assert pending == []


def test_what_runs_is_renewed_at_a_reconnect_before_anything_is_reserved() -> None:
    """The broker may have been away for longer than a lease lasts; the heartbeat may come later."""
    name = str(uuid4())
    store = MemoryStore(name, 0.3)
    store.put([Posting("q", "x")])
    (job,) = store.step((), ["q"], 1).jobs
    (row,) = BROKERS[name].rows.values()
    with Connection(f"laraq-memory:///{name}", transport_options={"retry_after": 0.3}) as connection:
        connection.transport.presence.ledger.hold([job.lease])
        wait_until(lambda: row.due <= time.time_ns())
        connection.connect()
        assert row.due > time.time_ns()
        assert not store.step((), ["q"], 1).jobs
