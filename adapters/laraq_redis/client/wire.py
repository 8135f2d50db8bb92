"""Wire: a connection that sends one HSET after the other and reads the replies when they have arrived."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from laraq_redis.client.connection import Client
from laraq_redis.client.direct import connection_for

#: Seconds after which an idle connection is not trusted: the server, or a device in between, may have dropped it, and
#: the next write would be lost unnoticed. Redis itself drops idle clients after one second at the earliest.
TRUSTED = 0.1

#: The replies of HSET: an overwritten field, a new one.
_STORED = frozenset({b":0", b":1"})

#: Replies that may be outstanding when the next command is sent.
DUE = 3


class Wire:
    """Sets fields of one hash over its own connection. Not thread-safe.

    `set` returns once the kernel has the command. The command arrives even if this process is killed a moment later:
    closing a socket delivers what was sent. Replies left unread at that moment make the kernel reset the connection,
    but the server reads what arrived before the reset; so up to `DUE` late replies are not waited for.
    """

    def __init__(self, client: Client, key: str) -> None:
        """Connect; raises redis-py's errors."""
        self._head = b"*4\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n" % (len(key.encode()), key.encode())
        self._connection = connection_for(client, key)
        self._connection.connect()
        self._socket: socket.socket = self._connection._sock
        #: Most replies that may be due after a `set`; TLS cannot check for one without waiting.
        self._allowed = 0 if isinstance(self._socket, ssl.SSLSocket) else DUE
        self._due = 0
        self._rest = b""
        self._sent_at = 0.0

    def set(self, field: bytes, value: bytes) -> None:
        """Send the command; wait for its reply only if the connection is new or was idle.

        Raises OSError when this or a write before it may be lost, or was refused.
        """
        self._collect(self._allowed)
        self._socket.sendall(b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (self._head, len(field), field, len(value), value))
        self._due += 1
        sent_at, self._sent_at = self._sent_at, time.monotonic()
        if self._sent_at - sent_at > TRUSTED:
            self.settle()

    def settle(self) -> None:
        """Read every reply that is still due."""
        self._collect(0)

    def _collect(self, allowed: int) -> None:
        """Read replies, waiting only until no more than `allowed` are due."""
        while self._due > allowed:
            self._read(0)
        if self._due and allowed:
            with contextlib.suppress(BlockingIOError):
                self._read(socket.MSG_DONTWAIT)

    def _read(self, flags: int) -> None:
        got = self._socket.recv(4096, flags)
        if not got:
            raise ConnectionResetError("Redis closed the connection")
        *answers, self._rest = (self._rest + got).split(b"\r\n")
        self._due -= len(answers)
        if refused := [answer for answer in answers if answer not in _STORED]:
            raise OSError(f"HSET was answered with {refused[0]!r}")

    def close(self) -> None:
        """Close this process's end; the connection of a parent process stays open."""
        self._connection.disconnect()
