"""kombu messages <-> items of a queue: the envelope in which a job is sent."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json

from laraq_kombu.store import Job, Posting

#: kombu writes values that JSON does not have as {"__type__": ...}. A body is a string in the envelope, with escaped
#: quotes, so this finds only marks of the envelope itself.
_TYPED, _TYPED_BYTES = '"__type__"', b'"__type__"'


def seconds_to_wait(message: Mapping[str, Any]) -> float:
    """Seconds until the message's ETA by this process's clock; 0 for at once.

    The ETA was computed by the sender's clock, which is this process's clock when it is sent.
    """
    eta = message["headers"].get("eta")
    if not eta:
        return 0.0
    due = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max((due - datetime.now(UTC)).total_seconds(), 0.0)


def seal(queue: str, message: dict[str, Any], priority: int, *, native_delay: bool) -> Posting:
    """The posting for a message; with `native_delay`, its ETA becomes the due time."""
    try:
        payload = json.dumps(message, separators=(",", ":"))
    except TypeError:
        payload = kombu_json.dumps(message)
    return Posting(queue, payload, priority, seconds_to_wait(message) if native_delay else 0.0)


def unseal(job: Job, *, waited: bool = False) -> dict[str, Any]:
    """The message of a reserved job, with its attempts; ValueError if it holds none.

    `waited`: whether the broker kept the job until its ETA. The ETA is then removed: the job is due by the broker's
    clock, and a worker whose clock is behind would hold it again, in memory.
    """
    try:
        return _unseal(job, waited)
    except Exception as error:  # any error that a foreign item causes in the decoders
        raise ValueError(f"not a kombu message: {type(error).__name__}: {error}") from error


def _unseal(job: Job, waited: bool) -> dict[str, Any]:
    message: dict[str, Any] = loads(job.payload)
    properties, headers = message["properties"], message["headers"]
    info = properties["delivery_info"]
    properties["delivery_tag"] = job.lease.tag
    # A stock worker that had the job before may have set this.
    info["redelivered"] = job.lease.attempts > 1 or bool(info.get("redelivered"))
    headers["attempts"] = job.lease.attempts
    if waited and headers.get("eta"):
        headers["eta"] = None
    elif headers.get("eta"):
        seconds_to_wait(message)  # raises if it is not a time
    _open_body(message)
    return message


def loads(payload: str | bytes) -> Any:
    """What kombu's JSON reads, in half the time if it holds no marks. ValueError if it is not JSON."""
    typed = _TYPED_BYTES in payload if isinstance(payload, bytes) else _TYPED in payload
    if typed:
        return kombu_json.loads(payload)
    try:
        from pydantic_core import from_json  # takes half the time; late: attaching an app opens no message

        return from_json(payload)
    except ValueError:
        return json.loads(payload)  # half a surrogate pair is JSON only to Python


def _open_body(message: dict[str, Any]) -> None:
    """Undo kombu's encoding of bytes in JSON; ValueError, TypeError or KeyError if they are something else.

    kombu would do it when it creates the Message, where an error ends the worker.
    """
    properties = message["properties"]
    encoding = properties.get("body_encoding")
    if encoding is None:
        return
    if encoding != "base64":
        raise ValueError(f"body_encoding {encoding!r}")
    message["body"], properties["body_encoding"] = base64.b64decode(message["body"]), None


def shown(payload: str | bytes) -> dict[str, Any]:
    """The message for an inspection of a queue. An item that is not a message is shown without a name."""
    try:
        message = kombu_json.loads(payload)
    except Exception:  # as in `unseal`
        return {}
    return message if isinstance(message, dict) else {}
