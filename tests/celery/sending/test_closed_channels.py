"""What is asked of a channel of ours whose connection was closed is answered with an outage: kombu connects anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.pools import producers

from laraq.errors import StoreError
from laraq_celery.transports import register

register()


@pytest.fixture(params=["redis", "sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return f"laraq-{url}" if request.param == "redis" else f"laraq-db+{url}"


def _publish(channel: Any, **headers: Any) -> None:
    message = channel.prepare_message("body", 0, "text/plain", "utf-8", headers, {})
    channel.basic_publish(message, exchange="", routing_key="q")


ASKED: dict[str, Callable[[Any], Any]] = {
    "publish": _publish,
    "delay": lambda channel: _publish(channel, eta="2100-01-01T00:00:00+00:00"),
    "exchange": lambda channel: channel.basic_publish(channel.prepare_message("x"), exchange="e", routing_key="q"),
    "declare": lambda channel: channel.queue_declare("q", passive=True),
    "bind": lambda channel: channel.queue_bind("q", "e", "q"),
    "get": lambda channel: channel.basic_get("q"),
    "consume": lambda channel: channel.basic_consume("q", False, print, "another"),
    "size": lambda channel: channel._size("q"),
    "purge": lambda channel: channel.queue_purge("q"),
    "inspection": lambda channel: channel.browser().size("q"),
    "restore": lambda channel: channel.restore() if hasattr(channel, "restore") else channel._size("q"),
}


def test_every_question_to_a_closed_channel_is_an_outage(url: str) -> None:
    with Connection(url, transport_options={"create_tables": True}) as connection:
        channel: Any = connection.default_channel
        for _ in range(3):
            _publish(channel)
        given_back, acknowledged, kept = (channel.basic_get("q") for _ in range(3))
        connection.collect()
        for ask in ASKED.values():
            with pytest.raises(StoreError, match="was closed"):
                ask(channel)
        assert issubclass(StoreError, connection.recoverable_connection_errors)
        # What was delivered over it is another matter: its leases outlive it.
        acknowledged.ack()
        given_back.reject(requeue=True)
        channel.basic_qos(0, 10, False)
        channel.basic_cancel("tag")
        assert kept is not None


def test_a_producer_whose_connection_was_closed_connects_anew(url: str) -> None:
    connection = Connection(url, transport_options={"create_tables": True})
    queue = Queue("q")
    with producers[connection].acquire(block=True) as producer:
        producer.publish("one", routing_key="q", declare=[queue], retry=True)
        producer.connection.collect()
        producer.publish("two", routing_key="q", declare=[queue], retry=True)
        assert producer.channel.browser().size("q") == 2
    producers[connection].force_close_all()
    connection.release()
