"""Converts a message in a queue to the form that is shown."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from kombu.compression import decompress

from laraq.errors import PayloadError
from laraq.messages.inspection import InspectedJob
from laraq.messages.payload import Payload
from laraq_celery.stock.browser import Found

logger = logging.getLogger("laraq.brokers")

JSON = "application/json"


def inspected(queue: str, found: Found) -> InspectedJob:
    """Read the message without trusting it: its author is unknown, and only JSON is decoded."""
    message, taken, put_at = found
    headers = _mapping(message.get("headers"))
    laraq = _mapping(headers.get("laraq"))
    args, fields = _arguments(message, headers)
    id, task = str(headers.get("id") or ""), str(headers.get("task") or "")
    created_at = laraq.get("created_at", put_at)
    return InspectedJob(
        id=id,
        queue=queue,
        name=str(headers.get("shadow") or task),
        attempts=_number(laraq.get("attempts")) + taken,
        payload={"id": id, "job": task, "kwargs": fields, "args": args, "laraq": laraq},
        created_at=datetime.fromtimestamp(created_at, UTC) if isinstance(created_at, int | float) else None,
    )


def payload_of(found: Found) -> tuple[Payload, bool] | None:
    """The job of a message, and whether it may have been started; None if it is not a job or cannot be read."""
    message, taken, _ = found
    headers = _mapping(message.get("headers"))
    id, task = headers.get("id"), headers.get("task")
    if "laraq" not in headers or id is None or task is None:
        return None
    args, fields = _arguments(message, headers)
    try:
        payload = Payload.from_header(str(id), str(task), fields, tuple(args), headers["laraq"])
    except PayloadError as error:
        logger.warning("A lock held by a dropped message could not be released: %s", error)
        return None
    return payload, bool(taken or payload.attempts or payload.uncounted)


def due_at(message: Mapping[str, Any]) -> float:
    """Epoch seconds before which the message must not be started; 0 for at once."""
    eta = _mapping(message.get("headers")).get("eta")
    with suppress(TypeError, ValueError):
        moment = datetime.fromisoformat(eta)  # type: ignore[arg-type]  # None is the usual TypeError
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return 0.0


def _arguments(message: Mapping[str, Any], headers: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a body of Celery's protocol 2: [args, kwargs, embedded canvas]."""
    if message.get("content-type") != JSON:
        return [], {}
    with suppress(Exception):  # any error that a broken or foreign body causes in the decoders
        body = message["body"]
        if _mapping(message.get("properties")).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        if compression := headers.get("compression"):
            body = decompress(body, compression)
        args, fields, _ = json.loads(body)
        return list(args), dict(fields)
    return [], {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
