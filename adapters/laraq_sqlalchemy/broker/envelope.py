"""kombu messages <-> rows: the envelope a job travels in."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json

from laraq_kombu import Job, Posting, open_body

#: kombu writes values JSON does not know as {"__type__": ...}. A body is a string in the envelope, where its
#: own quotes are escaped, so this finds only those of the envelope itself.
_TYPED = '"__type__"'


def seal(queue: str, message: dict[str, Any], priority: int, *, native_delay: bool) -> Posting:
    """The row for a message; with `native_delay` its ETA becomes the due time.

    The ETA was computed by this clock, so the difference to this clock is what the sender meant.
    """
    try:
        payload = json.dumps(message, separators=(",", ":"))
    except TypeError:
        payload = kombu_json.dumps(message)
    eta = message["headers"].get("eta") if native_delay else None
    return Posting(queue, payload, priority, _seconds_until(eta) if eta else 0.0)


def unseal(job: Job, *, native_delay: bool) -> dict[str, Any]:
    """The message of a reserved job, with its attempts; ValueError when the row holds none.

    A job that waited in the table is due by the server's clock: its ETA is removed, since a worker whose
    clock is behind would hold it once more, in memory.
    """
    try:
        return _unseal(job, native_delay)
    except Exception as error:  # whatever a foreign row makes of the decoders
        raise ValueError(f"no kombu message: {type(error).__name__}: {error}") from error


def _unseal(job: Job, native_delay: bool) -> dict[str, Any]:
    payload = job.payload
    message: dict[str, Any] = kombu_json.loads(payload) if _TYPED in payload else json.loads(payload)
    properties, headers = message["properties"], message["headers"]
    info = properties["delivery_info"]
    properties["delivery_tag"] = job.lease.tag
    info["redelivered"] = job.lease.attempts > 1
    headers["attempts"] = job.lease.attempts
    if native_delay and headers.get("eta"):
        headers["eta"] = None
    open_body(message)
    return message


def _seconds_until(eta: str | datetime) -> float:
    due = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max((due - datetime.now(UTC)).total_seconds(), 0.0)
