"""DirectConnection: a connection over which scripts are called without redis-py's overhead for each command."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

from redis import RedisCluster
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from laraq.process.forks import after_fork
from laraq_redis.client.connection import Client
from laraq_redis.client.resp import ErrorReply, Reader


class DirectConnection:
    """One connection of a client's server, for one caller at a time.

    redis-py's bookkeeping around a command (pool, retries, observers, parsing) costs several times as much as the
    command itself. If anything fails here, or would have to wait, redis-py takes over: it reconnects, follows a
    cluster, and reports the error. So a script may be called twice.
    """

    _lock: threading.Lock
    _connection: Any
    _reader: Reader

    def __init__(self, client: Client) -> None:
        self._client = ref(client)
        self._start()
        after_fork(self._start)

    def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Call the script and return its reply; text as bytes. Raises redis-py's errors."""
        if self._lock.acquire(blocking=False):
            try:
                return self._ask(packed("EVALSHA", script.sha, len(keys), *keys, *arguments), keys[0])
            except (OSError, RedisError) as error:
                if not isinstance(error, NoScriptError):  # redis-py then sends the whole script
                    self._hang_up()
            except BaseException:
                self._hang_up()  # a signal may have interrupted the command
                raise
            finally:
                self._lock.release()
        return script(keys, arguments)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._hang_up()

    def _ask(self, command: bytes, key: str) -> Any:
        if self._connection is None:
            client = self._client()
            assert client is not None, "the caller holds it"
            self._connection = connection_for(client, key)
            self._connection.connect()
            self._reader = Reader()
        # redis-py connects (TLS, ACL, database, Sentinel). `_sock` is not a public name, but kombu's transport has
        # always relied on it.
        sock: socket.socket = self._connection._sock
        sock.sendall(command)
        while True:
            got = sock.recv(65536)
            if not got:
                raise ConnectionResetError("Redis closed the connection")
            for answer in self._reader.feed(got):
                if isinstance(answer, ErrorReply):
                    raise NoScriptError(answer) if answer.startswith("NOSCRIPT") else RedisError(answer)
                return answer

    def _hang_up(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.disconnect()

    def _start(self) -> None:
        """Start anew, also in a forked child: the lock may be held there, and the connection is the parent's."""
        self._lock = threading.Lock()
        self._connection = None
        self._reader = Reader()


#: A DirectConnection refers to its client weakly, otherwise neither would ever be freed.
_directs: WeakKeyDictionary[Client, DirectConnection] = WeakKeyDictionary()


def direct(client: Client) -> DirectConnection:
    """The direct connection of a client."""
    found = _directs.get(client)
    if found is None:
        found = _directs[client] = DirectConnection(client)
    return found


def packed(*command: Any) -> bytes:
    """A command as it is sent to the server."""
    values = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(values) + b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


def connection_for(client: Client, key: str) -> Any:
    """A connection, not yet opened, to the server that has the key."""
    node: Any = client
    if isinstance(client, RedisCluster):
        cluster: Any = client
        node = cluster.get_redis_connection(cluster.get_node_from_key(key))
    pool = node.connection_pool
    # RESP2 and no `maint_notifications_*`: a pushed message could come between the answers. Tried once: whoever it
    # fails has the client to try again. Made without the pool, whose `max_connections` are for those who return them.
    settings = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith("maint_")}
    return pool.connection_class(**{**settings, "protocol": 2, "retry": Retry(NoBackoff(), 0)})
