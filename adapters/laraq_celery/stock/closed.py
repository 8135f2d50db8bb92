"""raise_when_closed(): makes a closed channel of kombu's Redis transport raise a connection error."""

from __future__ import annotations

from typing import Any


def raise_when_closed(channel: Any) -> None:
    """Jobs that end after a reconnect are acknowledged over the channel they came by, which then opens a new pool with
    the connection it no longer has: an AttributeError, which ends the worker. Celery logs a connection error instead,
    and the message is redelivered later: the journal knows that its job is done."""
    get_pool = channel._get_pool

    def guarded(*args: Any, **options: Any) -> Any:
        if getattr(channel.connection, "client", None) is None:
            raise ConnectionResetError("the connection to Redis over which the message came is closed")
        return get_pool(*args, **options)

    channel._get_pool = guarded
