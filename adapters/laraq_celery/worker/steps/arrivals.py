"""Arrivals: no message can end the worker, and a job of a class that this worker does not have is not dropped.

In stock Celery, an unexpected error in the handler ends the worker's main process, and that of the next worker
(`worker.consumer: Consumer.create_task_handler`). It rejects unknown tasks, which most brokers then drop.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state

from laraq.messages.failure import text_of
from laraq_celery.worker.arrival import LARAQ, ORIGINAL, UNKNOWN, fault, marked, notice, settled_headers, with_headers
from laraq_celery.worker.task import JobTask
from laraq_celery.worker.trace import shorten

logger = logging.getLogger("laraq.arrivals")


class Arrivals(StartStopStep):
    """Wraps the consumer's handler of messages, and passes unknown jobs to the task `laraq.unknown`."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Wrap the function that creates the handler, before the event loop calls it."""
        if "create_task_handler" not in vars(consumer):  # this runs again after each lost connection
            create = consumer.create_task_handler
            consumer.on_unknown_task = _keeping_jobs(consumer, consumer.on_unknown_task)
            consumer.create_task_handler = lambda *args, **kwargs: _guarded(consumer, create(*args, **kwargs))
        shorten(consumer.app)
        decode_error = consumer.task_consumer.on_decode_error
        consumer.task_consumer.on_decode_error = lambda message, error: _undecoded(
            consumer, message, error, decode_error
        )
        channel = consumer.task_consumer.channel
        if hasattr(channel, "delivers_undecodable"):
            # An item of laraq's broker that is not a message is delivered as an unreadable one.
            channel.delivers_undecodable = True


def _guarded(consumer: Any, stock: Any) -> Any:
    """The handler, with a check of each message before it."""
    passing = (*consumer.connection_errors, *getattr(consumer, "channel_errors", ()))

    def on_task_received(message: Any) -> Any:
        headers = message.headers
        if not isinstance(headers, dict) or "task" not in headers:
            return stock(message)  # of protocol 1, or of a sender without Celery
        settled = settled_headers(headers)
        if settled is not headers:
            message = with_headers(message, settled)
        why = fault(message, settled)
        if why is None:
            try:
                receive = consumer.strategies.get(settled["task"])
                if getattr(receive, "is_direct", False):  # Celery makes promises of acknowledgements for each message
                    return receive(message, None, None, None, consumer.on_task_message)
                return stock(message)
            except passing:
                raise
            except Exception as error:
                why = f"{type(error).__name__}: {text_of(error)}"
                _forget(message)
        logger.error("A message of %.200r cannot be read: %s", headers["task"], why)
        return stock(notice(message, settled, why))

    return on_task_received


def _undecoded(consumer: Any, message: Any, error: Exception, stock: Any) -> Any:
    """Keep a job's message that kombu could not decode; Celery would drop it."""
    headers = message.headers
    if not isinstance(headers, dict) or not (
        LARAQ in headers or isinstance(consumer.app.tasks.get(str(headers.get("task"))), JobTask)
    ):
        return stock(message, error)
    why = f"{type(error).__name__}: {text_of(error)}"
    logger.error("A message of %.200r cannot be read: %s", headers.get("task"), why)
    return consumer.task_consumer.on_message(notice(message, headers, why))


def _forget(message: Any) -> None:
    """Undo what Celery has recorded of a message before it failed."""
    for request in [*state.reserved_requests]:
        if request.message is message:
            state.task_ready(request)


def _keeping_jobs(consumer: Any, stock: Any) -> Any:
    def on_unknown_task(body: Any, message: Any, error: Exception) -> Any:
        headers = message.headers
        if not isinstance(headers, dict) or LARAQ not in headers:
            return stock(body, message, error)
        message = with_headers(message, marked({**headers, "task": UNKNOWN}, **{ORIGINAL: headers["task"]}))
        handler = consumer.strategies[UNKNOWN]
        return handler(message, None, message.ack_log_error, message.reject_log_error, consumer.on_task_message)

    return on_unknown_task
