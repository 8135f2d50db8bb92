"""The strategy: handles a job's message in the consumer before it becomes a request."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state
from celery.worker.strategy import default

from laraq.errors import PayloadError
from laraq.messages.failure import text_of
from laraq.messages.payload import LONGEST_ID, is_job_id
from laraq_celery.worker.arrival import UNKNOWN, decoded, job_fault, notice, with_headers
from laraq_celery.worker.request import JobRequest, parcels_of
from laraq_kombu.running import awaited_requests

logger = logging.getLogger("laraq.strategy")


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, made safe: no job's message is dropped, and no job runs twice at once."""
    task.Request = type("JobRequest", (JobRequest,), {"consumer": weakref.proxy(consumer)})
    receive = default(task, app, consumer, **options)
    # Celery 5.7 defers acknowledgements to the next turn of the loop, which the solo pool's next job blocks:
    # a job that kills the process would take the finished ones with it. The ends of a parcel's jobs are heard of in the
    # loop anyway.
    direct = isinstance(consumer.pool, SoloPool) or parcels_of(app) is not None

    def handler(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **rest: Any) -> Any:
        if direct:
            ack, reject = _acknowledgers(consumer, message)
        if message.delivery_info.get("redelivered") and _adopt(app, message, ack, reject):
            return None
        try:
            message = _with_text_id(message)
            if body is None and (why := _fault(message)) is not None:
                raise PayloadError(why)
            return receive(message, body, ack, reject, callbacks, **rest)
        except Exception as error:
            why = f"{type(error).__name__}: {text_of(error)}"
        logger.error("A message of %s cannot be read: %s", task.name, why)
        unreadable = notice(message, message.headers, why)
        return consumer.strategies[UNKNOWN](unreadable, None, ack, reject, callbacks, **rest)

    handler.is_direct = direct  # type: ignore[attr-defined] # read by steps/arrivals.py
    return handler


def _acknowledgers(consumer: Any, message: Any) -> tuple[Callable[..., None], Callable[..., None]]:
    """What acknowledges and rejects the message at once. After a lost connection, Celery prefetches less at first, and
    more again with each acknowledgement (celery.worker.consumer: Consumer.create_task_handler)."""
    if getattr(consumer, "restart_count", 0) <= 0 or getattr(consumer, "_maximum_prefetch_restored", True):
        return message.ack_log_error, message.reject_log_error

    def then_prefetch_more(settle: Callable[..., None]) -> Callable[..., None]:
        def settled(*args: Any, **options: Any) -> None:
            settle(*args, **options)
            consumer._restore_prefetch_count_after_connection_restart(None)

        return settled

    return then_prefetch_more(message.ack_log_error), then_prefetch_more(message.reject_log_error)


def _fault(message: Any) -> str | None:
    id, payload = message.headers["id"], decoded(message)
    if not is_job_id(id):
        return f"its id is invalid: expected 1 to {LONGEST_ID} characters without NUL"
    if isinstance(payload, dict) and "args" in payload:
        return None  # Celery also reads this form (worker.strategy: hybrid_to_proto2)
    return job_fault(payload)


def _with_text_id(message: Any) -> Any:
    """Convert the id to text, whatever type its sender used."""
    id = message.headers["id"]
    return message if isinstance(id, str) else with_headers(message, {**message.headers, "id": str(id)})


def _adopt(app: Any, message: Any, ack: Any, reject: Any) -> bool:
    """Attach a redelivered message to the job's run that is still in progress here after a lost connection.

    The run acknowledges the new copy; the old delivery tag is invalid.
    """
    id = str(message.headers.get("id"))
    parcels = parcels_of(app)
    in_parcels = () if parcels is None else parcels.requests()
    under_way = (*state.active_requests, *in_parcels, *awaited_requests())
    running = next((request for request in under_way if request.id == id), None)
    outcomes = app.laraq.host.outcomes
    if running is None and outcomes is not None:
        running = outcomes.of(id)
    if running is None or not isinstance(running, JobRequest) or running.acknowledged:
        return False
    logger.info("Job %s[%s] is still running here; its redelivered message is acknowledged with it", running.name, id)
    running._message, running._on_ack, running._on_reject = message, ack, reject
    return True
