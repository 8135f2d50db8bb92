"""Two ways to the broker: from the template of a Job class, and Celery's own. What each leaves there is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from kombu import Queue, pools
from kombu.transport import memory

from laraq import Job, Laraq
from laraq.messages.payload import Payload
from laraq_celery.sending.publisher import Publisher
from laraq_celery.sending.queue import CeleryQueue
from tests.support.waiting import wait_until


class Import(Job):
    row: int
    name: str = "x"

    def handle(self) -> None: ...


#: Differs between any two messages.
UNIQUE = frozenset({"delivery_tag", "delivery_info"})


class Ways:
    """An app on one broker."""

    def __init__(self, url: str, **conf: Any) -> None:
        self.app = Celery("shop", broker=url, set_as_current=False)
        self.app.conf.update(conf)
        self.laraq = Laraq(self.app, store="memory://")
        self.publisher = Publisher(self.app, None, self.app.connection_or_acquire)
        self._consuming = self.app.connection_for_read()
        for queue in conf.get("task_queues", ()):
            self.declare(queue)

    @property
    def queue(self) -> CeleryQueue:
        """The connection jobs are sent to."""
        queue = self.laraq.connection()
        assert isinstance(queue, CeleryQueue)
        return queue

    def declare(self, queue: Queue) -> None:
        """As a worker does."""
        queue(self._consuming.default_channel).declare()

    def payload(self, job: Job | None = None, **changes: Any) -> Payload:
        """What the dispatcher makes of the job."""
        return self.laraq.packer.payload(job or Import(7), "4bf5122f-388b-4c10-8b1a-1c2f3a4b5c6d").with_(**changes)

    def filled(self, payload: Payload, delay: float = 0, queue: str = "celery") -> dict[str, Any]:
        """The message filled into a template; fails when there is none."""
        assert not self.refuses(payload, delay), "Celery's way was taken"
        return self.take(queue)

    def celerys(self, payload: Payload, delay: float = 0, queue: str = "celery") -> dict[str, Any]:
        """The message of Celery's way, which a listener makes sure of."""
        with listened():
            self.queue.push(payload, delay)
        return self.take(queue)

    def refuses(self, payload: Payload, delay: float = 0) -> bool:
        """Whether there is no template for this; if there is one, it is sent. Celery's way opens connections."""
        with self.app.connection_or_acquire() as connection:
            connection.ensure_connection()
        return self.publisher.push(payload, None, delay) is None

    def take(self, queue: str = "celery") -> dict[str, Any]:
        """All there is to see of the next message."""
        message: Any = wait_until(lambda: self._consuming.default_channel.basic_get(queue, no_ack=True))
        message = self._consuming.default_channel.message_to_python(message) if not message.channel else message
        properties = {name: value for name, value in message.properties.items() if name not in UNIQUE}
        properties.pop("application_headers", None)
        info = {name: message.delivery_info.get(name) for name in ("exchange", "routing_key", "priority")}
        return {
            "body": message.body if isinstance(message.body, str) else bytes(message.body).decode(),
            "headers": dict(message.headers),
            "properties": properties,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "info": info,
        }

    def ids(self, queue: str = "celery") -> list[str]:
        """Ids of everything in the queue, in its order."""
        found = []
        while (message := self._consuming.default_channel.basic_get(queue, no_ack=True)) is not None:
            headers = getattr(message, "headers", None) or {}
            found.append(headers["id"])
        return found

    def close(self) -> None:
        """Leave no connection open."""
        self._consuming.close()
        pools.reset()
        self.app.close()


@contextmanager
def listened() -> Iterator[list[str]]:
    """Somebody listens to what is published; gives the names of the tasks."""
    names: list[str] = []

    def listen(sender: str, **_: Any) -> None:
        names.append(sender)

    before_task_publish.connect(listen)
    try:
        yield names
    finally:
        before_task_publish.disconnect(listen)


OpenWays = Callable[..., Ways]


@pytest.fixture
def open_ways() -> Iterator[OpenWays]:
    """Makes apps; all are closed after the test."""
    opened: list[Ways] = []

    def open_one(url: str = "memory://", **conf: Any) -> Ways:
        opened.append(Ways(url, **conf))
        return opened[-1]

    yield open_one
    for ways in reversed(opened):
        ways.close()
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()


@pytest.fixture(params=["redis", "amqp", "laraq-db", "laraq-redis", "memory"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A broker of each kind in turn."""
    match request.param:
        case "redis" | "amqp":
            return str(request.getfixturevalue(f"{request.param}_url"))
        case "laraq-redis":
            return f"laraq-{request.getfixturevalue('redis_url')}"
        case "laraq-db":
            return f"laraq-db+sqlite:///{tmp_path / 'broker.db'}"
        case _:
            return "memory://"
