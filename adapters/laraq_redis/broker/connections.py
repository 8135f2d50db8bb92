"""connect(): a connection that stays out of its pool."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from redis import ConnectionPool


def connect(pool: ConnectionPool) -> Any:
    """A connection of the pool, kept until it is released; the pool renews its credentials."""
    take: Any = pool.get_connection
    return take("EVALSHA") if _names_commands(type(pool)) else take()


@cache
def _names_commands(pool: type[ConnectionPool]) -> bool:
    """Whether the pool requires the command's name: redis-py before 5.3 does, later versions warn about it."""
    parameter = inspect.signature(pool.get_connection).parameters.get("command_name")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def connect_resp3(pool: ConnectionPool) -> Any:
    """A connection outside of the pool in RESP3, in which a server may push."""
    settings = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith("maint_")}
    connection = pool.connection_class(**{**settings, "protocol": 3})
    connection.connect()
    return connection
