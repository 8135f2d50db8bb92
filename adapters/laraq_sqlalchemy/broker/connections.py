"""DriverConnections: one long-lived driver connection per role, separate from a parent's after a fork."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from laraq.errors import StoreError
from laraq.process.forks import busy
from laraq_sqlalchemy.database.engine import label

#: DriverConnections inherited over a fork. Never closed here, nor dereferenced, which would close them: that would end
#: the parent's session, or touch its locks.
_inherited: list[Any] = []


class DriverConnections:
    """Opens driver connections through the application's engine, so that its URL, events and arguments apply."""

    def __init__(self, engine: Engine, prepare: Callable[[Any, str], None], advice: str) -> None:
        """`prepare` sets up a fresh driver connection for its role; `advice` ends the message of an error."""
        self.engine = engine
        self.label = label(engine.url)
        self._prepare = prepare
        self._advice = advice
        self._open: dict[str, Any] = {}
        self._pid = os.getpid()
        dbapi = engine.dialect.dbapi
        assert dbapi is not None
        self._errors: tuple[type[Exception], ...] = (dbapi.Error, DBAPIError, OSError)

    def get(self, role: str) -> Any:
        """The driver connection of the role, opened when needed."""
        if self._pid != os.getpid():
            _inherited.extend(self._open.values())
            self._open, self._pid = {}, os.getpid()
            self.engine.dispose(close=False)  # its pool contains only the parent's locks
        fairy = self._open.get(role)
        if fairy is None:
            fairy = self.engine.raw_connection()
            fairy.detach()  # so that close() closes it, instead of returning it to a pool that a fork would share
            connection = fairy.dbapi_connection
            try:
                self._prepare(connection, role)
            except BaseException:
                fairy.close()
                raise
            self._open[role] = fairy
        return self._open[role].dbapi_connection

    @contextmanager
    def errors(self, role: str) -> Iterator[None]:
        """Convert driver errors to StoreError; the role's connection is then replaced at its next use. Prevents forks
        meanwhile."""
        try:
            with busy:
                yield
        except self._errors as error:
            self._discard(role)
            reason = getattr(error, "orig", None) or error  # SQLAlchemy adds the SQL and a link
            raise StoreError(f"The database broker at {self.label} failed: {reason}. {self._advice}") from error
        except BaseException:
            self._discard(role)  # a signal may have interrupted a transaction or a reply
            raise

    def _discard(self, role: str) -> None:
        fairy = self._open.pop(role, None)
        if fairy is not None:
            # Not the pool's `close()`, which rolls back first and logs a traceback when the connection is dead.
            with contextlib.suppress(*self._errors):
                self.engine.dialect.do_close(fairy.dbapi_connection)

    def close(self) -> None:
        """Close the connections that this process opened; usable again afterwards."""
        if self._pid == os.getpid():
            for role in list(self._open):
                self._discard(role)
