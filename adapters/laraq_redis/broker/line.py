"""ScriptLine: a connection to Redis over which a script is called without waiting for the reply."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import ConnectionPool
from redis.exceptions import NoScriptError, RedisError

from laraq.errors import StoreError
from laraq_redis.broker.connections import connect
from laraq_redis.broker.scripts import LuaFile
from laraq_redis.client.connection import store_errors


class ScriptLine:
    """Replies arrive in the order of the calls. An error closes the connection; the next call opens another."""

    def __init__(self, pool: ConnectionPool, script: LuaFile, label: str, patience: float) -> None:
        """`patience`: seconds without a reply after which the server counts as gone; 0 for never."""
        self._pool = pool
        self._script = script
        self._label = label
        self._patience = patience
        self._connection: Any = None
        self._asked_at: deque[float] = deque()

    @property
    def socket(self) -> socket.socket | None:
        """The socket, readable when a reply has arrived; None while there is no connection."""
        found: socket.socket | None = None if self._connection is None else self._connection._sock
        return found

    def ask(self, keys: Sequence[str], arguments: Sequence[Any]) -> None:
        """Call the script; StoreError if the call cannot be sent."""
        with self._errors():
            if self._connection is None:
                self._connection = connect(self._pool)
                self._connection.send_command("SCRIPT", "LOAD", self._script.text)
                self._connection.read_response()
            if not self._asked_at and getattr(self._connection, "_re_auth_token", None) is not None:
                # redis-py does this when a connection is returned to its pool, as this one never is.
                self._connection.re_auth()
            # No health check: it would read the reply to an earlier call as its own.
            self._connection.send_command("EVALSHA", self._script.sha, len(keys), *keys, *arguments, check_health=False)
            self._asked_at.append(time.monotonic())

    def has_answer(self) -> bool:
        """Whether `answer` would not block. StoreError when the connection is gone, or the server's time is up."""
        if not self._asked_at:
            return False
        with self._errors():
            if self._connection.can_read(0):
                return True
        if self._patience and time.monotonic() - self._asked_at[0] > self._patience:
            self.close()
            raise StoreError(f"The store {self._label} has not answered for {self._patience:g} s; reconnecting.")
        return False

    def answer(self) -> Any:
        """Wait for the reply to the oldest call.

        None when the server no longer has the script: neither this call nor a later one was executed.
        """
        try:
            with self._errors():
                reply = self._connection.read_response()
        except NoScriptError:
            self.close()
            return None
        self._asked_at.popleft()
        return reply

    def wait(self, now: float) -> float | None:
        """Seconds until `has_answer` should be called although nothing could be read."""
        if not self._asked_at or not self._patience:
            return None
        return max(self._asked_at[0] + self._patience - now, 0.0)

    def close(self) -> None:
        """Close the connection; outstanding calls get no reply."""
        self._asked_at.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(RedisError, OSError):
                connection.disconnect()
            self._pool.release(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with store_errors(self._label):
                try:
                    yield
                except OSError as error:
                    raise StoreError(f"The store {self._label} does not answer: {error}") from error
        except StoreError as error:
            if isinstance(error.__cause__, NoScriptError):
                raise error.__cause__ from None
            self.close()
            raise
        except BaseException:
            self.close()  # a signal may have interrupted a command
            raise
