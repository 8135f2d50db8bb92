"""kombu messages <-> what lies in Redis: the same JSON as stock kombu's, so that both kinds of worker can read it."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json

from laraq.transport import Job

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


def unseal(job: Job) -> dict[str, Any]:
    """The message of a reserved job, with its attempts; ValueError when it is none."""
    payload = job.payload
    message = kombu_json.loads(payload) if _TYPED in payload else json.loads(payload)
    try:
        properties, headers = message["properties"], message["headers"]
        info = properties["delivery_info"]
        headers["attempts"] = job.lease.attempts
        properties["delivery_tag"] = job.lease.tag
        # A stock worker that had the job before may have said so.
        info["redelivered"] = job.lease.attempts > 1 or bool(info.get("redelivered"))
        seconds_to_wait(message)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no kombu message: {error}") from error
    return message  # type: ignore[no-any-return]  # checked above as far as it matters


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
