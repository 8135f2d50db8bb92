"""Wire: a connection that sends one HSET after the other and reads each answer before the next."""

from __future__ import annotations

import socket
import time
from typing import Any

from redis import RedisCluster
from redis.backoff import NoBackoff
from redis.retry import Retry

from laraq_redis.connection import Client

#: Seconds after which a silent connection is not trusted: the server, or a box on the way, may have dropped it and
#: the next write would vanish unnoticed. Redis itself drops idle clients after one second at the earliest.
TRUSTED = 0.1

#: What HSET answers: an overwritten field, a new one.
_STORED = frozenset({b":0\r\n", b":1\r\n"})


class Wire:
    """Sets fields of one hash over a connection of its own. Not thread-safe.

    `set` returns once the kernel has the command. It gets there although this process is killed a moment later:
    closing a socket delivers what was sent, unless something received was left unread, for then the kernel resets
    the connection. That is why the answer to a write is read before the next write, and never more than one is due:
    an unread answer can only be the one to the last write, which has then arrived.
    """

    def __init__(self, client: Client, key: str) -> None:
        """Connect; raises redis-py's errors."""
        self._head = b"*4\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n" % (len(key.encode()), key.encode())
        self._connection = _connection_for(client, key)
        self._connection.connect()
        # redis-py connects (TLS, ACL, database, Sentinel); its sending and parsing would cost twice what the system
        # calls do. `_sock` is no public name, but kombu's transport has relied on it for as long.
        self._socket: socket.socket = self._connection._sock
        self._answer_due = False
        self._sent_at = 0.0

    def set(self, field: bytes, value: bytes) -> None:
        """Send the command; wait for its answer only if the connection is new or was silent.

        Raises OSError when this or the write before may be lost, or was refused.
        """
        self.settle()
        self._socket.sendall(b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (self._head, len(field), field, len(value), value))
        self._answer_due = True
        sent_at, self._sent_at = self._sent_at, time.monotonic()
        if self._sent_at - sent_at > TRUSTED:
            self.settle()

    def settle(self) -> None:
        """Read the answer to the last `set` if it is still due."""
        if self._answer_due:
            answer = self._socket.recv(64)
            if answer not in _STORED:
                raise OSError(f"HSET was answered with {answer!r}")
            self._answer_due = False

    def close(self) -> None:
        """Close this process's end; the connection of a parent process stays open."""
        self._connection.disconnect()


def _connection_for(client: Client, key: str) -> Any:
    node: Any = client
    if isinstance(client, RedisCluster):
        cluster: Any = client
        node = cluster.get_redis_connection(cluster.get_node_from_key(key))
    pool = node.connection_pool
    # RESP2 and no `maint_notifications_*`: a pushed message could come between the answers. Tried once: whoever it
    # fails has the client to try again. Made without the pool, whose `max_connections` are for those who return them.
    settings = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith("maint_")}
    return pool.connection_class(**{**settings, "protocol": 2, "retry": Retry(NoBackoff(), 0)})
