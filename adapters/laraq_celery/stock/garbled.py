"""Items in a queue of stock Redis that are not kombu messages: they must not end the worker that takes them.

kombu reads what it pops without a check (kombu.transport.redis: Channel._brpop_read; virtual.Message), so anything else
in the list is an error in the event loop, after which the item is lost, and soon the worker, too.
"""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import base64
import logging
import uuid
from typing import Any

import kombu.transport.redis as transport

from laraq_kombu import Job, Lease, undecodable

logger = logging.getLogger("laraq")


def survive_garbled_messages(queue: str) -> None:
    """Let this process read such items as messages of a job that cannot be decoded, which are failed and kept.

    `queue` is where they are requeued if their worker dies before that.
    """
    read = getattr(transport, "loads", None)
    if read is not None and not isinstance(read, _Reader):
        transport.loads = _Reader(read, queue)  # type: ignore[attr-defined,assignment] # what kombu imported under that name


class _Reader:
    """Reads an item of a queue, or of kombu's list of unacknowledged messages: `[message, exchange, key]`."""

    def __init__(self, read: Any, queue: str) -> None:
        self._read = read
        self._queue = queue

    def __call__(self, text: str) -> Any:
        try:
            item = self._read(text)
            message = item[0] if isinstance(item, list) and len(item) == 3 else item
            if _is_message(message):
                return item
        except Exception as error:  # any error that a foreign item causes in the decoders
            logger.error("A queue holds an item that is not a message: %s", type(error).__name__)
        return _stand_in(text, self._queue)


def _is_message(message: Any) -> bool:
    properties, body = message["properties"], message.get("body")
    if body and (encoding := properties.get("body_encoding")) is not None:
        {"base64": base64.b64decode}[encoding](body)
    return (
        isinstance(properties["delivery_tag"], str)
        and isinstance(properties["delivery_info"], dict)
        and isinstance(message.get("headers"), dict)
        and isinstance(body, str | bytes | None)
    )


def _stand_in(text: str, queue: str) -> dict[str, Any]:
    message = undecodable(Job(Lease(uuid.uuid4().int, queue, attempts=1, reserved_at=0), text))
    body = base64.b64encode(message["body"]).decode()
    return {**message, "body": body, "properties": {**message["properties"], "body_encoding": "base64"}}
