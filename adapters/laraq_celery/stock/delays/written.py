"""A stored message: all that kombu should publish, in the message form of its virtual transports."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from typing import Any

from kombu.compression import compress
from kombu.entity import Queue
from kombu.messaging import Producer
from kombu.serialization import dumps as serialized
from kombu.utils.json import dumps, loads

from laraq.ports import DelayedMessage

#: Arguments of `Producer.publish` about one attempt to send, not about the message.
_OF_THE_ATTEMPT = ("retry", "retry_policy", "timeout", "confirm_timeout")


class WritingProducer(Producer):
    """Records messages of jobs instead of publishing them; `after` is the delay of the next ones in seconds."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, auto_declare=False)  # connects when its channel is needed
        self.after = 0.0
        self._written: list[tuple[DelayedMessage, float]] = []

    def publish(self, body: Any, *arguments: Any, **options: Any) -> Any:
        """Record the message; what does not belong to a job (the event `task-sent`) is published at once.

        Raises kombu's EncodeError.
        """
        if "laraq" not in (options.get("headers") or {}):
            return super().publish(body, *arguments, **options)
        self._written.append((write(body, **options), time.monotonic() + self.after))
        return None

    def waiting(self) -> list[tuple[DelayedMessage, float]]:
        """The messages, and the remaining seconds of each: writing thousands takes a while."""
        now = time.monotonic()
        return [(message, max(due_at - now, 0)) for message, due_at in self._written]


def write(
    body: Any,
    *,
    headers: Mapping[str, Any],
    exchange: Any = "",
    routing_key: str = "",
    declare: Any = None,
    serializer: str | None = None,
    content_type: str | None = None,
    content_encoding: str | None = None,
    compression: str | None = None,
    **properties: Any,
) -> DelayedMessage:
    """The message as text. Queues are recorded by name: the worker that moves it declares them by its own app."""
    headers = dict(headers)
    if content_type is None:
        content_type, content_encoding, body = serialized(body, serializer=serializer)
    if isinstance(body, str):
        body = body.encode(content_encoding or "utf-8")
    if compression:
        body, headers["compression"] = compress(body, compression)
    queues = [entity.name for entity in declare or () if isinstance(entity, Queue)]
    written = {
        "body": base64.b64encode(body).decode(),
        "content-type": content_type,
        "content-encoding": content_encoding,
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            **{name: value for name, value in properties.items() if name not in _OF_THE_ATTEMPT},
        },
        "exchange": getattr(exchange, "name", exchange) or "",
        "routing_key": routing_key or "",
        "queues": queues,
    }
    return DelayedMessage(uuid.uuid4().hex, queues[0] if queues else routing_key or "", dumps(written))


def read(message: DelayedMessage) -> dict[str, Any]:
    """Parse a stored message."""
    written: dict[str, Any] = loads(message.body)
    return written


def to_publish(written: dict[str, Any], *, once: bool) -> dict[str, Any]:
    """The arguments of `Producer.publish` for the message. `once`: it may be sent again after a crash."""
    headers = written["headers"]
    if once:
        headers["laraq"] = {**headers["laraq"], "once": 1}
    return {
        "body": base64.b64decode(written["body"]),
        "content_type": written["content-type"],
        "content_encoding": written["content-encoding"],
        "headers": headers,
        "exchange": written["exchange"],
        "routing_key": written["routing_key"],
        **{name: value for name, value in written["properties"].items() if name != "body_encoding"},
    }
