"""ChangeTracking: learns by CLIENT TRACKING that a job was put into a queue, by any producer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket as Socket  # the class has an attribute called socket
from ssl import SSLWantReadError
from typing import Any, NamedTuple

from redis import ConnectionPool
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from laraq.errors import StoreError
from laraq_redis.broker.connections import connect_resp3
from laraq_redis.broker.keys import QueueKeys
from laraq_redis.client.connection import PATIENCE, store_errors
from laraq_redis.client.resp import ErrorReply, Push, Reader


class Seen(NamedTuple):
    """The state of the queues at the last check."""

    #: Whether one of the lists holds a job.
    pending: bool
    #: Seconds until the first delayed job is due; None when there is none.
    next_due: float | None


class _Questions(NamedTuple):
    packed: bytes
    number: int


class UntrackableError(Exception):
    """The server has no CLIENT TRACKING."""


class ChangeTracking:
    """A separate connection in RESP3: the server pushes a line at the first change of a key that was read.

    Nothing is popped, so no job can be lost, and one connection serves any number of queues.
    """

    def __init__(self, pool: ConnectionPool, label: str) -> None:
        """Connect. UntrackableError if the server does not support it, StoreError if it does not answer."""
        self._label = label
        self._reader = Reader()
        self._heard = False
        self._asked_about: tuple[QueueKeys, ...] = ()
        self._packed_questions = _Questions(b"", 0)
        self._connection: Any = None
        try:
            with self._errors():
                self._connection = connect_resp3(pool)
                (reply,) = self._ask(self._packed(("CLIENT", "TRACKING", "ON")))
        except StoreError as error:
            # Before version 6 HELLO is unknown, which redis-py reports as a failed connection.
            if (
                self._connection is None
                and "HELLO" in str(error)
                and not isinstance(error.__cause__, AuthenticationError)
            ):
                raise UntrackableError(str(error.__cause__)) from error
            raise
        if isinstance(reply, ErrorReply):
            self.close()
            raise UntrackableError(reply)

    @property
    def socket(self) -> Socket | None:
        """The socket, readable when a change was reported; None once closed."""
        found: Socket | None = None if self._connection is None else self._connection._sock
        return found

    def look(self, queues: tuple[QueueKeys, ...]) -> Seen:
        """Read the queues now, and let the server report the next change."""
        with self._errors():
            (seconds, micros), *replies = self._ask(self._questions(queues))
        if refused := [reply for reply in replies if isinstance(reply, ErrorReply)]:
            raise StoreError(f"The store {self._label} refused: {refused[0]}") from ResponseError(refused[0])
        lengths = [reply for reply in replies if isinstance(reply, int)]
        heads = [reply[0] for reply in replies if isinstance(reply, list) and reply]
        first = min((float(score) for _, score in heads), default=None)
        now = int(seconds) * 1000 + int(micros) / 1000
        return Seen(any(lengths), None if first is None else max(first - now, 0) / 1000)

    def _questions(self, queues: tuple[QueueKeys, ...]) -> _Questions:
        if queues != self._asked_about:  # this is rare, and packing costs more than the query
            commands: list[tuple[str, ...]] = [("TIME",)]
            for keys in queues:
                commands += [("LLEN", name) for name in keys.lists]
                commands.append(("ZRANGE", keys.delayed, "0", "0", "WITHSCORES"))
            self._asked_about, self._packed_questions = queues, self._packed(*commands)
        return self._packed_questions

    def _packed(self, *commands: tuple[str, ...]) -> _Questions:
        return _Questions(b"".join(b"".join(self._connection.pack_command(*one)) for one in commands), len(commands))

    def drain(self) -> bool:
        """Whether anything has changed; StoreError when the connection is gone."""
        with self._errors():
            sock = self._open_socket(0)
            # TLS also hides decrypted data from the poller: read until there is none.
            with contextlib.suppress(BlockingIOError, SSLWantReadError):
                while True:
                    self._take(sock.recv(65536))
        heard, self._heard = self._heard, False
        return heard

    def close(self) -> None:
        """Stop listening."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(RedisError, OSError):
                connection.disconnect()

    def _ask(self, questions: _Questions) -> list[Any]:
        sock = self._open_socket(PATIENCE)
        sock.sendall(questions.packed)
        replies: list[Any] = []
        while len(replies) < questions.number:
            replies += self._take(sock.recv(65536), skip_to_reply=not replies)
        return replies

    def _open_socket(self, patience: float) -> Socket:
        if (sock := self.socket) is None:
            raise ConnectionResetError("the connection was closed")
        sock.settimeout(patience)
        return sock

    def _take(self, data: bytes, *, skip_to_reply: bool = False) -> list[Any]:
        """The replies in `data`. With `skip_to_reply`, changes reported before the first reply are ignored: they
        happened before the server read the queues."""
        if not data:
            raise ConnectionResetError("Redis closed the connection")
        replies = []
        for value in self._reader.feed(data):
            if not isinstance(value, Push):
                replies.append(value)
            elif replies or not skip_to_reply:
                self._heard = True
        return replies

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with store_errors(self._label):
            try:
                yield
            except OSError as error:
                self.close()
                raise StoreError(f"The store {self._label} does not answer: {error}") from error
