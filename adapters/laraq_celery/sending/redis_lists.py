"""Messages on kombu's Redis lists: what `kombu.transport.redis: Channel._put` does, over a connection that is kept."""

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
    """Whether messages are values of lists, and nobody changed how they get there: the stock transport, and one of ours
    (`put_due`), which keeps those that are not due elsewhere (`keeps_delayed`)."""
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
    """Whether the message just goes on a list: through no exchange, to no queue that each message keeps alive, and not
    after a while."""
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
    """Put one message on its list."""
    queue, priority, value = entry(channel, message)
    lists = {(queue, priority): [value]}
    if hasattr(channel, "put_due"):
        channel.put_due(lists, message.properties["delivery_tag"])
    else:
        _lpush(channel, lists)


def push_all(channel: Any, lists: Lists) -> None:
    """Put many messages on their lists, each list's with one command, all in one round trip.

    An error leaves open which of the lists were served; nothing is tried again.
    """
    if hasattr(channel, "put_due"):
        channel.put_due(lists)
    else:
        _lpush(channel, lists)


def _lpush(channel: Any, lists: Lists) -> None:
    """One LPUSH for each list, over a connection of the channel's pool that is not given back: redis-py's bookkeeping
    around a command (client, pool, retries, observers) costs several times what the command itself does."""
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
        connection.disconnect()  # a signal may have come in the middle; answers that are left would be taken for others
        raise
    finally:
        if pool.max_connections == 1:  # others need it
            del channel.laraq_connection
            pool.release(connection)


def _connection(channel: Any, pool: Any) -> Any:
    """The channel's connection, fit for a command. The channel itself keeps it, and closes it with its pool."""
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
    except TypeError:  # redis-py before 5.3 asks what it is for
        return pool.get_connection("LPUSH")


def _is_stale(connection: Any) -> bool:
    """Whether the server has hung up since the last command."""
    try:
        stale: bool = connection.can_read(timeout=0)
    except Exception:  # whatever it is, the connection is made anew
        return True
    return stale
