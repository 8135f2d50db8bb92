"""Messages as stored in Redis: the same JSON as stock kombu's, so that both kinds of worker can read them."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json


def without_eta(message: dict[str, Any]) -> dict[str, Any]:
    """The message as it waits in Redis: due by the server's clock, so a worker must not check its ETA."""
    return {**message, "headers": {**message["headers"], "eta": None}}


def undated(payload: str) -> str:
    """A stored message without its ETA."""
    text: str = kombu_json.dumps(without_eta(kombu_json.loads(payload)))
    return text


def is_sent_again(message: Mapping[str, Any]) -> bool:
    """Whether a worker releases a job to its queue."""
    retries = message["headers"].get("retries")
    return isinstance(retries, int) and retries > 0


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
