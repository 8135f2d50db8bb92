"""drain(): takes the messages of a queue as a consumer does, and acknowledges them after a notification."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from contextlib import suppress
from typing import Any

from amqp.exceptions import NotFound
from kombu.entity import Queue
from kombu.exceptions import ChannelError

from laraq_celery.stock.browser import Found, Notify

#: Messages passed to `notify` together.
PAGE = 500


def drain(channel: Any, queue: str, most: int, notify: Notify) -> int:
    """Drop up to `most` messages that are ready, on any kombu broker; return how many.

    When `notify` raises, or this process dies, taken messages are requeued like those of a dead worker.
    """
    dropped, bound = 0, Queue(queue, channel=channel)
    while dropped < most and (page := _take(bound, min(PAGE, most - dropped))):
        try:
            notify([_found(message) for message in page])
        except BaseException:
            for message in reversed(page):  # each is put before the others
                message.requeue()
            raise
        for message in page:
            message.ack()
        dropped += len(page)
    return dropped


def _take(queue: Queue, limit: int) -> list[Any]:
    taken: list[Any] = []
    with suppress(NotFound, ChannelError):  # the queue is gone
        while len(taken) < limit and (message := queue.get(no_ack=False)) is not None:
            taken.append(message)
    return taken


def _found(message: Any) -> Found:
    written = {"headers": message.headers, "content-type": message.content_type, "body": message.body}
    return written, int(bool((message.delivery_info or {}).get("redelivered"))), None
