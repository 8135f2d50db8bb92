"""Celery's canvas and laraq's chains and batches: signatures as links and members, and their outcomes.

A signature of a job is that job. Any other is sent as the message Celery itself would send, with laraq's header for
what follows it; Celery's signals report how it ended, in the process in which Celery notices that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery import signals, states
from celery.canvas import Signature
from celery.worker import state

from laraq.errors import JobDefinitionError, JobFailure, PayloadError
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq_celery.receivers import while_alive
from laraq_celery.worker.arrival import LARAQ
from laraq_celery.worker.task import JobTask

if TYPE_CHECKING:
    from laraq.app import Laraq

logger = logging.getLogger("laraq.canvas")

#: Options of a signature that its message carries unchanged.
_CARRIED = ("link", "link_error", "priority", "expires", "headers", "ignore_result", "shadow", "time_limit",
            "soft_time_limit", "serializer", "compression", "exchange", "routing_key", "delivery_mode")  # fmt: skip


def as_link(laraq: Laraq, app: Any, thing: Any, id: str) -> Link | None:
    """A signature as a link with that id; None for any other object.

    Raises JobDefinitionError for a chain, group or chord, whose end could not be reported to the laraq chain.
    """
    if not isinstance(thing, Signature):
        return None
    if thing.subtask_type is not None:
        raise JobDefinitionError(
            f"Celery's {thing.subtask_type} cannot be a link or a batch's job: name its tasks one by one, or use"
            " Bus.chain and Bus.batch."
        )
    options, task = dict(thing.options), app.tasks.get(thing.task)
    if isinstance(task, JobTask) and task.job_class is not None:
        link = laraq.packer.link(task.as_job(thing.args, thing.kwargs, options), id=id)
        own = {name: options[name] for name in ("link", "link_error") if options.get(name)}
        return link.with_(carrier={**link.payload.carrier, **own})
    queue = options.get("queue")
    payload = Payload(
        id,
        thing.task,
        dict(thing.kwargs),
        tuple(thing.args),
        queue=getattr(queue, "name", queue),
        carrier={name: options[name] for name in _CARRIED if options.get(name) is not None},
    )
    return Link(payload, _delay(options), takes_result=not thing.immutable)


def _delay(options: Mapping[str, Any]) -> float:
    if (eta := options.get("eta")) is not None:
        moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        return max(0.0, (moment - datetime.now(moment.tzinfo or UTC)).total_seconds())
    return float(options.get("countdown") or 0)


def follow(laraq: Laraq, app: Any) -> None:
    """Continue chains and batches when their ordinary tasks end, and when any of their messages is dropped."""

    def on_start(sender: Any = None, **_: Any) -> None:
        if sender.app is app and not isinstance(sender, JobTask) and LARAQ in (sender.request.headers or {}):
            _keep_header(sender)

    def on_success(sender: Any = None, **_: Any) -> None:
        if sender.app is app and not isinstance(sender, JobTask):
            request = sender.request
            payload = _payload(sender.name, request.id, request.headers)
            if payload is not None:
                # The next link belongs to the root of the whole chain, not to one that begins here.
                laraq.books.succeeded(payload.with_(carrier={"root_id": request.root_id}))

    def on_failure(sender: Any = None, task_id: str = "", exception: BaseException | None = None, **_: Any) -> None:
        if sender is None or sender.app is not app or isinstance(sender, JobTask) or exception is None:
            return
        headers = sender.request.headers
        if sender.request.id != task_id:  # the worker's main process reports a child that is gone
            headers = getattr(state.requests.get(task_id), "request_dict", None)
        payload = _payload(sender.name, task_id, headers)
        if payload is not None:
            laraq.books.failed(payload, exception)

    def on_revoked(sender: Any = None, request: Any = None, expired: bool = False, **_: Any) -> None:
        if sender is None or sender.app is not app or isinstance(sender, JobTask):
            return  # request.py settles jobs
        headers = getattr(request, "request_dict", None) or getattr(request, "headers", None)
        payload = _payload(sender.name, request.id, headers)
        if payload is not None:
            reason = "expired before it started" if expired else "was revoked"
            error = JobFailure(f"{sender.name} {reason}", job=sender.name, job_id=request.id)
            laraq.books.failed(payload, error)

    def on_end(sender: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
        # For a task that ended with Ignore or Reject, Celery sends only this signal.
        if state not in (states.IGNORED, states.REJECTED) or sender.app is not app or isinstance(sender, JobTask):
            return
        request = sender.request
        payload = _payload(sender.name, request.id, request.headers)
        if payload is None or getattr(retval, "requeue", False):
            return
        if state == states.IGNORED:
            laraq.books.succeeded(payload.with_(carrier={"root_id": request.root_id}))
        else:
            laraq.books.failed(payload, retval)

    while_alive(app, signals.task_prerun, on_start)
    while_alive(app, signals.task_postrun, on_end)
    while_alive(app, signals.task_success, on_success)
    while_alive(app, signals.task_failure, on_failure)
    while_alive(app, signals.task_revoked, on_revoked)


def _keep_header(task: Any) -> None:
    """Keep laraq's header in `self.retry(headers=...)`, which drops the headers of the message."""
    if "signature_from_request" in vars(task):
        return
    of_celery = task.signature_from_request

    def signature_from_request(request: Any = None, *args: Any, **options: Any) -> Any:
        again = of_celery(request, *args, **options)
        header = ((task.request if request is None else request).headers or {}).get(LARAQ)
        if header is not None:
            again.options["headers"] = {LARAQ: header, **(again.options.get("headers") or {})}
        return again

    task.signature_from_request = signature_from_request


def _payload(name: str, id: str, headers: Mapping[str, Any] | None) -> Payload | None:
    """The part of a message about its chain or batch; None if it belongs to neither."""
    header = (headers or {}).get(LARAQ)
    if not isinstance(header, Mapping) or not ("chain" in header or "batch_id" in header or "unique" in header):
        return None
    try:
        return Payload.from_header(str(id), name, {}, (), header)
    except PayloadError as error:
        logger.error("%s", error)
        return None
