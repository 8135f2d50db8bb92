"""ShortWay: from a payload to the broker without asking Celery again what it said for the last job of the class."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.backends.base import Backend
from celery.result import AsyncResult
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from laraq.errors import LaraqError, StoreError
from laraq.messages.payload import Payload
from laraq_celery.sending.batches import open_batch, publish_one
from laraq_celery.sending.message import Prebuilt, Ready
from laraq_celery.sending.prebuilt import Prebuilder
from laraq_celery.sending.window import Window

logger = logging.getLogger("laraq")


class UnconfirmedError(OperationalError):
    """The broker is not known to have some messages of a bulk."""

    def __init__(self, missing: int, total: int, reason: object) -> None:
        self.missing = missing
        self.total = total
        super().__init__(f"{missing} of {total} jobs may not have been sent: {reason}")


class InDoubtError(OperationalError):
    """The broker may have the message or not. `again` is what to tell Celery so that it is the same message when it is
    sent once more."""

    def __init__(self, ready: Ready, reason: object) -> None:
        tag = ready.properties.get("delivery_tag")
        #: Brokers of ours put a message with that tag once; others give it another one, and AMQP knows of none.
        self.again: dict[str, Any] = {} if tag is None else {"delivery_tag": tag}
        super().__init__(str(reason))


class ShortWay:
    """Sends the ordinary jobs of one connection. Whatever is out of the ordinary is refused, and goes Celery's way.

    `connect` lends a connection of the pool.
    """

    def __init__(self, app: Celery, url: str | None, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._app = app
        self._connect = connect
        self._prebuilder = Prebuilder(app, url)

    def push(self, payload: Payload, queue: str | None, delay: float, producer: Any = None) -> Any:
        """Send one job, through `producer` when given; returns its result or what makes it. None: Celery must send it.

        That is also the answer when the connection is not open: Celery knows how often to try to connect.
        Raises InDoubtError when it fails, InvalidJobError.
        """
        window = self._prebuilder.window()
        prebuilt = None if window is None else self._find(window, payload, queue, delay)
        if window is None or prebuilt is None:
            return None
        ready = window.ready(prebuilt, payload, delay)
        if producer is not None:
            result = self._result(prebuilt, payload, producer.channel)
            publish_one(producer.connection, producer.channel, ready)
            return _sent(window, result)
        with self._connect() as connection:
            if not connection.connected:
                return None
            try:
                channel = connection.default_channel
                result = self._result(prebuilt, payload, channel)
                publish_one(connection, channel, ready)
            except (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors) as error:
                logger.debug("Job %s[%s] is sent once more, by Celery: %r", payload.job, payload.id, error)
                raise InDoubtError(ready, error) from error
            return _sent(window, result)

    def bulk(self, payloads: Sequence[tuple[Payload, float]], queue: str | None) -> bool:
        """Send many jobs; False, with nothing sent, when Celery must send them.

        Raises UnconfirmedError, or InvalidJobError.
        """
        window = self._prebuilder.window()
        if window is None:
            return False
        found = []
        for payload, delay in payloads:
            prebuilt = self._find(window, payload, queue, delay)
            if prebuilt is None:
                return False
            found.append(prebuilt)
        batch = None
        with self._connect() as connection:
            try:
                with connection._reraise_as_library_errors():
                    policy = dict(self._app.conf.task_publish_retry_policy)
                    # By what kombu finds there it connects; it does the same when it publishes.
                    connection.transport_options.update(policy)  # type: ignore[union-attr]  # an app gives a mapping
                    batch = open_batch(connection, policy)
                    channel = connection.default_channel
                    for (payload, delay), prebuilt in zip(payloads, found, strict=True):
                        result = self._result(prebuilt, payload, channel)
                        batch.add(window.ready(prebuilt, payload, delay))
                        _sent(window, result)
                    batch.flush()
            except Exception as error:  # of whatever library is behind the transport
                if isinstance(error, LaraqError) and not isinstance(error, StoreError):
                    raise
                taken = 0 if batch is None else batch.taken
                raise UnconfirmedError(len(payloads) - taken, len(payloads), error) from error
            finally:
                if batch is not None:
                    with suppress(Exception):  # what is flushed is sent, whatever the farewell
                        batch.close()
        return True

    def _find(self, window: Window, payload: Payload, queue: str | None, delay: float) -> Prebuilt | None:
        if delay and self._app.amqp.producer_pool.connections.connection.transport.driver_type == "amqp":
            return None  # through delay exchanges, perhaps
        return window.find(payload, payload.queue or queue)

    def _result(self, prebuilt: Prebuilt, payload: Payload, channel: Any) -> Any:
        """The result of a job about to be sent, for which a result backend may subscribe until it is collected as
        garbage; else what makes it, for nobody needs one before it is asked for."""
        ignored = payload.carrier.get("ignore_result", prebuilt.task.ignore_result)
        make = partial(_result, prebuilt.task, payload.id, ignored)
        if ignored or type(backend := self._app.backend).on_task_call is Backend.on_task_call:
            return make
        backend.on_task_call(self._app.amqp.Producer(channel, auto_declare=False), payload.id)
        return make()


def _sent(window: Window, result: Any) -> Any:
    """A parent knows the results of its children."""
    if window.parent is None:
        return result
    made = result() if isinstance(result, partial) else result
    window.parent.add_trail(made)
    return made


def _result(task: Task, id: str, ignored: bool) -> AsyncResult:
    """As `Celery.send_task` makes it."""
    result = task.AsyncResult(id)
    result.ignored = ignored
    return result
