"""The strategy: what the consumer does with a message of a job before it becomes a request."""

from __future__ import annotations

import base64
import logging
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state
from celery.worker.strategy import default

from laraq_celery.request import JobRequest
from laraq_celery.task import CRASH

logger = logging.getLogger("laraq.strategy")


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, made safe: no message of a job is dropped, none is run beside itself."""
    task.Request = type("JobRequest", (JobRequest,), {"consumer": weakref.proxy(consumer)})
    receive = default(task, app, consumer, **options)
    # Celery 5.7 defers acknowledgements to the next turn of the loop, which the solo pool's next job blocks:
    # a job that kills the process would take the finished ones with it.
    direct = isinstance(consumer.pool, SoloPool)

    def handler(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **rest: Any) -> Any:
        if direct:
            ack, reject = message.ack_log_error, message.reject_log_error
        if message.delivery_info.get("redelivered") and _adopt(app, message, ack, reject):
            return None
        try:
            return receive(message, body, ack, reject, callbacks, **rest)
        except Exception as error:
            logger.error("A message of %s cannot be read: %r", task.name, error)
            _replace_by_notice(message, error)
            return receive(message, None, ack, reject, callbacks, **rest)

    return handler


def _adopt(app: Any, message: Any, ack: Any, reject: Any) -> bool:
    """A connection was cut while the job runs here and the broker sends its message again: it belongs to that run.

    The run acknowledges the new copy; the old delivery tag is void.
    """
    id = message.headers.get("id")
    running = next((request for request in state.active_requests if request.id == id), None)
    outcomes = app.laraq.host.outcomes
    if running is None and outcomes is not None:
        running = outcomes.of(id)
    if running is None or not isinstance(running, JobRequest) or running.acknowledged:
        return False
    logger.info("Job %s[%s] still runs here; its message came again and is kept for it", running.name, id)
    running._message, running._on_ack, running._on_reject = message, ack, reject
    return True


def _replace_by_notice(message: Any, error: Exception) -> None:
    """Turn an unreadable message into one a pool child can put into the failed store, raw bytes included."""
    body = message.body
    raw = body if isinstance(body, bytes) else str(body).encode()
    headers = dict(message.headers)
    headers.setdefault("id", message.properties.get("correlation_id") or str(uuid.uuid4()))
    for name in ("eta", "expires", "timelimit"):
        headers.pop(name, None)
    headers[CRASH] = {
        "kind": "broken",
        "detail": f"The message cannot be read: {type(error).__name__}: {error}",
        "raw": base64.b64encode(raw).decode(),
    }
    message.headers = headers
    message.body = b"[[], {}, {}]"
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None
    message.errors = []
