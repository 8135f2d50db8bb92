"""Publisher: sends the ordinary jobs of one connection from their templates, one or many at once."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache, partial
from typing import Any

from celery import Celery, Task
from celery.backends.base import Backend
from celery.result import AsyncResult
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from laraq.errors import LaraqError, StoreError
from laraq.messages.payload import Payload
from laraq_celery.sending.bulk import open_bulk, publish
from laraq_celery.sending.template import CARRIED, Caller, TaskMessage, Template, Templates

logger = logging.getLogger("laraq")


class UnconfirmedError(OperationalError):
    """The broker is not known to have some messages of a bulk."""

    def __init__(self, missing: int, total: int, reason: object) -> None:
        self.missing = missing
        self.total = total
        super().__init__(f"{missing} of {total} jobs may not have been sent: {reason}")


class InDoubtError(OperationalError):
    """The broker may or may not have the message. `again` are the options with which Celery sends the same message
    again."""

    def __init__(self, message: TaskMessage, reason: object) -> None:
        tag = message.properties.get("delivery_tag")
        #: laraq's brokers put a message with that tag once; others assign another tag, and AMQP has none.
        self.again: dict[str, Any] = {} if tag is None else {"delivery_tag": tag}
        super().__init__(str(reason))


class Publisher:
    """Refuses unusual messages, which Celery then sends itself.

    `connect` returns a context manager with a connection of the pool.
    """

    def __init__(self, app: Celery, url: str | None, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._app = app
        self._connect = connect
        self.templates = Templates(app, url)

    def push(self, payload: Payload, queue: str | None, delay: float, producer: Any = None) -> Any:
        """Send one job, through `producer` when given; return its result or a function for it, or None: Celery must.

        None is also returned when the connection is not open: Celery knows how often to try to connect. Raises
        InDoubtError when sending fails, InvalidJobError.
        """
        caller = self.templates.caller()
        template = None if caller is None else self._template(payload, delay, queue, self.templates.find)
        if caller is None or template is None:
            return None
        message = template.fill(payload, caller, delay)
        if producer is not None:
            result = self._result(template, payload, producer.channel)
            publish(producer.connection, producer.channel, message)
            return _sent(caller, result)
        with self._connect() as connection:
            if not connection.connected:
                return None
            try:
                channel = connection.default_channel
                result = self._result(template, payload, channel)
                publish(connection, channel, message)
            except (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors) as error:
                logger.debug("Job %s[%s] is sent once more, by Celery: %r", payload.job, payload.id, error)
                raise InDoubtError(message, error) from error
            return _sent(caller, result)

    def bulk(self, payloads: Sequence[tuple[Payload, float]], queue: str | None) -> bool:
        """Send many jobs; False, with nothing sent, when Celery must send them.

        Raises UnconfirmedError, or InvalidJobError.
        """
        caller = self.templates.caller()
        if caller is None:
            return False
        find, templates = cache(self.templates.find), list[Template]()
        for payload, delay in payloads:
            template = self._template(payload, delay, queue, find)
            if template is None:
                return False
            templates.append(template)
        bulk = None
        with self._connect() as connection:
            try:
                with connection._reraise_as_library_errors():
                    policy = dict(self._app.conf.task_publish_retry_policy)
                    # kombu connects with these options; it does the same when it publishes.
                    connection.transport_options.update(policy)  # type: ignore[union-attr]  # an app gives a mapping
                    bulk = open_bulk(connection, policy)
                    channel = connection.default_channel
                    for (payload, delay), template in zip(payloads, templates, strict=True):
                        result = self._result(template, payload, channel)
                        bulk.add(template.fill(payload, caller, delay))
                        _sent(caller, result)
                    bulk.flush()
            except Exception as error:  # of whatever library is behind the transport
                if isinstance(error, LaraqError) and not isinstance(error, StoreError):
                    raise
                taken = 0 if bulk is None else bulk.taken
                raise UnconfirmedError(len(payloads) - taken, len(payloads), error) from error
            finally:
                if bulk is not None:
                    with suppress(Exception):  # flushed messages are sent, however the close ends
                        bulk.close()
        return True

    def _template(
        self, payload: Payload, delay: float, queue: str | None, find: Callable[[str, str | None], Template | None]
    ) -> Template | None:
        if not payload.carrier.keys() <= CARRIED:
            return None
        if delay and self._app.amqp.producer_pool.connections.connection.transport.driver_type == "amqp":
            return None  # through delay exchanges, perhaps
        return find(payload.job, payload.queue or queue)

    def _result(self, template: Template, payload: Payload, channel: Any) -> Any:
        """The result of a job about to be sent, if its result backend subscribes for it; else a function that creates
        the result on demand."""
        ignored = payload.carrier.get("ignore_result", template.task.ignore_result)
        make = partial(_result, template.task, payload.id, ignored)
        if ignored or type(backend := self._app.backend).on_task_call is Backend.on_task_call:
            return make
        backend.on_task_call(self._app.amqp.Producer(channel, auto_declare=False), payload.id)
        return make()


def _sent(caller: Caller, result: Any) -> Any:
    """Add the result to the children of the running task."""
    if caller.task is None:
        return result
    made = result() if isinstance(result, partial) else result
    caller.task.add_trail(made)
    return made


def _result(task: Task, id: str, ignored: bool) -> AsyncResult:
    """As `Celery.send_task` makes it."""
    result = task.AsyncResult(id)
    result.ignored = ignored
    return result
