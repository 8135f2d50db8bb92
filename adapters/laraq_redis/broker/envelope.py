"""kombu messages <-> what lies in Redis: the same JSON as stock kombu's, so that both kinds of worker can read it."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json
from pydantic_core import from_json

from laraq_kombu import Job, open_body

#: kombu writes values JSON does not know as {"__type__": ...}. A body is a string in the envelope, where its
#: own quotes are escaped, so this finds only those of the envelope itself.
_TYPED = '"__type__"'


def seconds_to_wait(message: Mapping[str, Any]) -> float:
    """Seconds until the message's ETA by this process's clock; 0 for at once."""
    eta = message["headers"].get("eta")
    if not eta:
        return 0.0
    due = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max((due - datetime.now(UTC)).total_seconds(), 0.0)


def without_eta(message: dict[str, Any]) -> dict[str, Any]:
    """The message as it waits in Redis: due by the server's clock, which a worker must not question."""
    return {**message, "headers": {**message["headers"], "eta": None}}


def undated(payload: str) -> str:
    """The same, of a message as it lies in Redis."""
    text: str = kombu_json.dumps(without_eta(kombu_json.loads(payload)))
    return text


def is_sent_again(message: Mapping[str, Any]) -> bool:
    """Whether a worker sends a job back to its queue."""
    retries = message["headers"].get("retries")
    return isinstance(retries, int) and retries > 0


def unseal(job: Job) -> dict[str, Any]:
    """The message of a reserved job, with its attempts; ValueError when it is none."""
    try:
        return _unseal(job)
    except Exception as error:  # whatever a foreign item makes of the decoders
        raise ValueError(f"no kombu message: {type(error).__name__}: {error}") from error


def _unseal(job: Job) -> dict[str, Any]:
    message: dict[str, Any] = _loads(job.payload)
    properties, headers = message["properties"], message["headers"]
    info = properties["delivery_info"]
    headers["attempts"] = job.lease.attempts
    properties["delivery_tag"] = job.lease.tag
    # A stock worker that had the job before may have said so.
    info["redelivered"] = job.lease.attempts > 1 or bool(info.get("redelivered"))
    seconds_to_wait(message)
    open_body(message)
    return message


def _loads(payload: str) -> Any:
    if _TYPED in payload:
        return kombu_json.loads(payload)
    try:
        return from_json(payload)  # in half the time
    except ValueError:
        return json.loads(payload)  # half a surrogate pair is JSON to Python alone


def as_stock(payload: str, attempts: int, due: float | None) -> str:
    """The message as stock kombu would have left it: `due` (epoch seconds) as its ETA, marked if it was started."""
    message = kombu_json.loads(payload)
    if due is not None:
        message["headers"]["eta"] = datetime.fromtimestamp(due, UTC).isoformat()
    if attempts:
        message["headers"]["redelivered"] = True
        message["properties"]["delivery_info"]["redelivered"] = True
    text: str = kombu_json.dumps(message)
    return text
