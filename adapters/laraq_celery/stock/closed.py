"""say_when_closed(): a channel of kombu's Redis transport that is closed raises an error of the connection."""

from __future__ import annotations

from typing import Any


def say_when_closed(channel: Any) -> None:
    """Jobs that end after a reconnect are acknowledged over the channel they came by, which then opens a pool anew by
    the connection it no longer has: an AttributeError, which ends the worker. Celery logs an error of the connection,
    and the message comes back when its time is up: the journal knows that its job is done."""
    get_pool = channel._get_pool

    def guarded(*args: Any, **options: Any) -> Any:
        if getattr(channel.connection, "client", None) is None:
            raise ConnectionResetError("the connection to Redis that the message came by is closed")
        return get_pool(*args, **options)

    channel._get_pool = guarded
