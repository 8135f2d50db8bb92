"""Apps whose delayed jobs wait in a store, each pair of broker and store in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from amqp.exceptions import NotFound
from celery import Celery

from laraq import Job, Laraq
from laraq.messages.payload import Payload
from laraq_celery.sending.queue import CeleryQueue
from laraq_celery.stock.delays import Delays, Mover
from tests.life.conftest import redis_stage, stage  # noqa: F401  # fixtures


class Mail(Job):
    to: str

    def handle(self) -> None: ...


class Shop:
    """An app in this process: it sends, moves what is due when told to, and reads the messages out of the queue."""

    def __init__(self, broker: str, store: Any, **settings: Any) -> None:
        self.app = Celery("shop", broker=broker, set_as_current=False)
        self.app.set_default()
        self.laraq = Laraq(self.app, store=store, **{"store_delays_over": 0.05, **settings})
        self.queue = self.laraq.connection()
        assert isinstance(self.queue, CeleryQueue)
        self.delays: Delays = self.queue.delays
        self._movers: list[Mover] = []

    def mover(self) -> Mover:
        assert self.delays.store is not None
        self._movers.append(Mover(self.app, self.delays, self.delays.store))
        return self._movers[-1]

    def push(self, delay: float, queue: str, carrier: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Send a job as the dispatcher does and return its id."""
        payload = Payload(
            id=fields.pop("id"), job=Mail.job_name(), fields={"to": "ann"}, queue=queue, carrier=carrier or {}, **fields
        )
        self.queue.push(payload, delay)
        return payload.id

    def received(self, queue: str) -> list[Any]:
        """Takes every message that is ready out of the queue."""
        messages: list[Any] = []
        with self.app.connection_for_read() as connection, suppress(NotFound):
            channel = connection.default_channel
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                messages.append(message if hasattr(message, "payload") else channel.message_to_python(message))
        return messages

    def close(self) -> None:
        for mover in self._movers:
            mover.disconnect()
        self.laraq.store.close()
        self.app.close()


OpenShop = Callable[..., Shop]


@pytest.fixture
def open_shop() -> Iterator[OpenShop]:
    """Makes shops; all are closed after the test."""
    opened: list[Shop] = []

    def open_one(broker: str, store: Any, **settings: Any) -> Shop:
        opened.append(Shop(broker, store, **settings))
        return opened[-1]

    yield open_one
    for shop in opened:
        shop.close()


def content(message: Any) -> dict[str, Any]:
    """All of a message that does not say when and how it came."""
    headers = dict(message.headers)
    properties = {
        name: value
        for name, value in message.properties.items()
        if name not in ("delivery_tag", "delivery_info", "reply_to", "application_headers", "body_encoding")
    }
    return {
        "headers": headers,
        "properties": properties,
        "body": message.payload,
        "type": (message.content_type, message.content_encoding),
        "to": (message.delivery_info["exchange"], message.delivery_info["routing_key"]),
    }
