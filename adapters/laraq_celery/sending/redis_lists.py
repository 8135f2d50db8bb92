"""Messages on kombu's Redis lists: does what `kombu.transport.redis: Channel._put` does, over a kept connection."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from kombu.transport import virtual

from laraq_celery.sending.template import TaskMessage

_NO_CONNECTION: tuple[int, Any, Any] = (0, None, None)

#: Encoded messages by queue and priority.
Lists: TypeAlias = Mapping[tuple[str, int], Sequence[bytes | str]]


def are_behind(channel: Any) -> bool:
    """Whether messages are values of lists and `_put` is unchanged: in the stock transport, and in laraq's (`put_due`),
    which keeps delayed messages elsewhere (`keeps_delayed`)."""
    transport = sys.modules.get("kombu.transport.redis")
    if transport is None or not isinstance(channel, transport.Channel):
        return False
    kind, stock = type(channel), transport.Channel
    return (
        (kind._put is stock._put or hasattr(kind, "keeps_delayed"))
        and kind._q_for_pri is stock._q_for_pri
        and kind._create_client is stock._create_client
        and kind.basic_publish is virtual.Channel.basic_publish
    )


def fits(channel: Any, message: TaskMessage) -> bool:
    """Whether the message only needs a push to a list: no exchange, no queue that each message keeps alive, and no
    delay."""
    return (
        not message.template.exchange
        and message.template.routing_key not in getattr(channel, "_expires", ())
        and not is_delayed(channel, message)
    )


def is_delayed(channel: Any, message: TaskMessage) -> bool:
    """Whether the channel keeps the message elsewhere until it is due."""
    return bool(message.headers["eta"]) and getattr(channel, "keeps_delayed", False)


def entry(channel: Any, message: TaskMessage) -> tuple[str, int, bytes | str]:
    """The queue, the priority and the value of a message."""
    queue = message.template.routing_key
    prepared = message.prepared(channel)
    channel._inplace_augment_message(prepared, "", queue)
    priority: int = channel._get_message_priority(prepared, reverse=False)
    return queue, priority, message.encoded(prepared)


def push(channel: Any, message: TaskMessage) -> None:
    """Push one message to its list."""
    queue, priority, value = entry(channel, message)
    lists = {(queue, priority): [value]}
    if hasattr(channel, "put_due"):
        channel.put_due(lists, message.properties["delivery_tag"])
    else:
        _lpush(channel, lists)


def push_all(channel: Any, lists: Lists) -> None:
    """Push many messages to their lists, with one command per list, all in one round trip.

    After an error it is unknown which lists were pushed to; there is no retry.
    """
    if hasattr(channel, "put_due"):
        channel.put_due(lists)
    else:
        _lpush(channel, lists)


def _lpush(channel: Any, lists: Lists) -> None:
    """One LPUSH for each list, over a connection that is not returned to the channel's pool: redis-py's bookkeeping
    around a command (client, pool, retries, observers) costs several times as much as the command itself."""
    pool, prefix = channel.pool, channel.global_keyprefix
    commands = [
        ("LPUSH", f"{prefix}{channel._q_for_pri(queue, priority)}", *values)
        for (queue, priority), values in lists.items()
    ]
    connection = _connection(channel, pool)
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            connection.read_response()
    except BaseException:
        connection.disconnect()  # after a signal in the middle, remaining replies would be read as those of others
        raise
    finally:
        if pool.max_connections == 1:  # other code needs it
            del channel.laraq_connection
            pool.release(connection)


def _connection(channel: Any, pool: Any) -> Any:
    """The channel's connection, ready for a command. The channel keeps it, and closes it with its pool."""
    made_in, made_by, connection = getattr(channel, "laraq_connection", _NO_CONNECTION)
    if made_in != os.getpid() or made_by is not pool:  # a forked child must not use its parent's
        connection = _take(pool)
        channel.laraq_connection = os.getpid(), pool, connection
    elif _is_stale(connection):
        connection.disconnect()
    connection.connect()
    return connection


def _take(pool: Any) -> Any:
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 requires the command's name
        return pool.get_connection("LPUSH")


def _is_stale(connection: Any) -> bool:
    """Whether the server has closed the connection since the last command."""
    try:
        stale: bool = connection.can_read(timeout=0)
    except Exception:  # after any error, a new connection is made
        return True
    return stale
