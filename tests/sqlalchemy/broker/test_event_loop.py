"""A transport leaves the worker's event loop as it found it, however often its connection is cut."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from typing import Any

import pytest
from kombu.asynchronous import Hub
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer

from laraq_kombu import Posting
from laraq_sqlalchemy.broker.store import open_store
from tests.sqlalchemy.broker.celery_app import rows
from tests.support.waiting import wait_until


@pytest.fixture
def hub() -> Any:
    hub = Hub()
    yield hub
    hub.close()


def test_reconnecting_leaves_no_timer_reader_or_tick_behind(sqlite_url: str, hub: Hub) -> None:
    received: list[Any] = []
    for cut in range(4):
        connection = Connection(f"laraq-db+{sqlite_url}", transport_options={"create_tables": True, "poll": 30})
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


def test_what_runs_is_renewed_at_a_reconnect_before_anything_is_reserved(sqlite_url: str) -> None:
    """The database may have been away for longer than a lease lasts; the heartbeat may come later."""
    options = {"retry_after": 0.3}
    store = open_store(sqlite_url, options)
    store.connect()
    store.put([Posting("q", "x")])
    (job,) = store.step((), ["q"], 1).jobs
    with Connection(f"laraq-db+{sqlite_url}", transport_options=options) as connection:
        connection.transport.presence.ledger.hold([job.lease])
        wait_until(lambda: due(sqlite_url) <= time.time())
        connection.connect()
        assert due(sqlite_url) > time.time()
        assert not store.step((), ["q"], 1).jobs
    store.close()


def due(database: str) -> float:
    """When the only job may be handed out again."""
    return float(rows(database, "SELECT available_at / 1000.0 FROM laraq_jobs")[0][0])
