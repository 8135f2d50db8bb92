"""CeleryQueue: Payload -> one ordinary Celery message, published by the app's own machinery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery, Task
from celery.utils.quorum_queues import detect_quorum_queues
from kombu import pools
from kombu.exceptions import EncodeError, OperationalError
from kombu.transport import get_transport_cls

from laraq.errors import ConfigurationError, DispatchError, InvalidJobError
from laraq.payload import CIPHER, Payload
from laraq_celery.brokers.inspection import BrokerInspection

#: Stands for the arguments of encrypted jobs in headers, events and logs.
HIDDEN = "<encrypted>"


class CeleryQueue:
    """Publishes to the app's broker, or with `url` to another one through its own pool of producers."""

    immediate = False

    def __init__(self, app: Celery, name: str, url: str | None = None, queue: str | None = None) -> None:
        self.name = name
        self._app = app
        self._url = url
        self._queue = queue
        self._connection: Any = None

    @property
    def inspection(self) -> BrokerInspection:
        """What can be seen of the broker's queues."""
        return BrokerInspection(lambda: self._producers().connections)

    @property
    def joins_transactions(self) -> bool:
        """Whether what is pushed here may become part of a transaction that is open in this thread."""
        return self._producer_in_transaction() is not None

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Send the job and return Celery's result object.

        On laraq's database broker the message becomes part of the transaction that is open on the same database.
        Raises DispatchError when the broker does not take it, InvalidJobError when a value is no JSON.
        """
        with self._wrapped(payload.job):
            if (producer := self._producer_in_transaction()) is not None:
                return self._publish(payload, delay, {"producer": producer})
            if self._url is None:
                return self._publish(payload, delay, {})
            with self._producers().acquire(block=True) as producer:
                return self._publish(payload, delay, {"producer": producer})

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Send many jobs through one producer, pipelined where kombu can."""
        if not payloads:
            return
        with self._wrapped(payloads[0][0].job), self._producers().acquire(block=True) as producer, _batch(producer):
            for payload, delay in payloads:
                self._publish(payload, delay, {"producer": producer})

    def default_queue(self) -> str:
        """The connection's queue, else the app's."""
        return self._queue or str(self._app.conf.task_default_queue)

    def _publish(self, payload: Payload, delay: float, options: dict[str, Any]) -> Any:
        headers = {**payload.carrier.get("headers", {}), "laraq": payload.to_header()}
        options = {**payload.carrier, **options, "headers": headers}
        if queue := payload.queue or self._queue:
            options["queue"] = queue
        if delay and "eta" not in options:
            options["countdown"] = self.countdown(delay)
        if CIPHER in payload.fields:
            options["argsrepr"] = options["kwargsrepr"] = HIDDEN
        task = self._app.tasks.get(payload.job)
        args, fields = payload.args, dict(payload.fields)
        if task is None:
            return self._app.send_task(payload.job, args, fields, task_id=payload.id, **options)
        # Task's own, not the task's: its `apply_async` leads to the dispatcher that has called us.
        return Task.apply_async(task, args, fields, task_id=payload.id, **options)

    def countdown(self, delay: float) -> float:
        """Celery 5.7 on quorum queues: native delays are whole seconds and 0 < countdown < 1 is a ValueError."""
        if delay < 1 and detect_quorum_queues(self._app, self._driver_type())[0]:
            return 1
        return delay

    def _producer_in_transaction(self) -> Any:
        """A producer that writes through the session open here, if this broker lives in that session's database."""
        session = self._app.laraq.open_session()
        if session is None:
            return None
        scheme = str(self._url or self._app.conf.broker_write_url or self._app.conf.broker_url).partition(":")[0]
        if not scheme.startswith("laraq-"):
            return None
        session_producer = getattr(get_transport_cls(scheme.partition("+")[0]), "session_producer", None)
        if session_producer is None or self._url is not None:
            return None
        try:
            return session_producer(self._app, session)
        except ConfigurationError:
            return None  # the session is of another database

    def _driver_type(self) -> str:
        return str(self._app.connection_for_write(self._url).transport.driver_type)

    def _producers(self) -> Any:
        if self._url is None:
            return self._app.amqp.producer_pool
        if self._connection is None:
            self._connection = self._app.connection_for_write(self._url)
        return pools.producers[self._connection]

    @contextmanager
    def _wrapped(self, job: str) -> Iterator[None]:
        try:
            yield
        except (OperationalError, OSError) as error:
            where = self._app.connection_for_write(self._url).as_uri()
            raise DispatchError(
                f"Job {job} was not sent: connection {self.name!r} at {where} does not answer ({error})."
                " Check that the broker runs and that the URL is right."
            ) from error
        except EncodeError as error:
            raise InvalidJobError(job, f"Job {job} was not sent: {error}") from error


@contextmanager
def _batch(producer: Any) -> Iterator[None]:
    """kombu 5.7's pipelined publishing where the transport has it."""
    if getattr(producer, "supports_batch_publish", False):
        with producer.batch(max_size=500):
            yield
    else:
        yield
