from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Job, Laraq
from laraq_celery.stock import BrokerInspection


class Broker:
    """An app with jobs on one broker, and the inspection of it."""

    def __init__(self, url: str, **options: Any) -> None:
        self.app = Celery("shop", broker=url, set_as_current=False)
        self.app.conf.broker_transport_options = options
        self.laraq = Laraq(self.app, store="memory://")
        self._pool = self.app.connection_for_write().Pool(2)
        self.inspection = BrokerInspection(lambda: self._pool)
        self._consuming = self.app.connection_for_read()

    def send(self, job: Job, queue: str, delay: float = 0) -> str:
        """Dispatch and return the id."""
        return self.laraq.dispatcher.dispatch(job.on_queue(queue).with_delay(delay)).id

    def take(self, queue: str, count: int = 1) -> list[Any]:
        """Messages, given to a consumer that does not acknowledge them."""
        return [self._consuming.default_channel.basic_get(queue) for _ in range(count)]

    def close(self) -> None:
        """Give everything back."""
        self._consuming.close()
        self._pool.force_close_all()
        self.app.close()


OpenBroker = Callable[..., Broker]


@pytest.fixture
def open_broker() -> Iterator[OpenBroker]:
    """Makes brokers; all are closed after the test."""
    opened: list[Broker] = []

    def open_one(url: str, **options: Any) -> Broker:
        opened.append(Broker(url, **options))
        return opened[-1]

    yield open_one
    for broker in reversed(opened):
        broker.close()
