"""Direct: statements that take one round trip."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar
from weakref import WeakMethod

from sqlalchemy import Connection, CursorResult, Executable, TextClause, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from laraq.process.forks import after_fork
from laraq_sqlalchemy.database.clock import NOW
from laraq_sqlalchemy.database.trouble import lost_race
from laraq_sqlalchemy.store.database import Database

T = TypeVar("T")

#: Databases whose SQL needs one statement where others need several steps: on MariaDB the steps need 2.7 times the CPU
#: for a lock, and 5 times for a limit.
ONE_TRIP = frozenset({"postgresql", "mariadb"})

#: Most idle connections that stay open.
KEPT = 5

#: The first MariaDB with JSON_TABLE; blocks of statements are older.
_MARIADB = (10, 6)


class LostRaceError(Exception):
    """A constraint of the table refused the statement, which may be retried."""


class Direct:
    """Keeps connections of a database in autocommit mode, as many as threads have used at once.

    A pooled connection would cost up to three more round trips each time: to begin, to commit, and the ROLLBACK with
    which it returns to the pool. A separate engine in autocommit mode with SQLAlchemy's `skip_autocommit_rollback` also
    saves these, but its pool costs 11 to 21 % more CPU per statement. The connections are closed by `close`, or with
    the pool when its engine is disposed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pid = os.getpid()
        dispose = WeakMethod(self._on_dispose)
        event.listen(database.engine, "engine_disposed", lambda engine: _call(dispose))
        self._idle: list[Connection] = []
        self._of_parents: list[Connection] = []
        after_fork(self._leave_parent)

    def run(self, statement: Executable, parameters: Mapping[str, Any], read: Callable[[CursorResult[Any]], T]) -> T:
        """Run one committed statement and return `read(result)`. Raises LostRaceError."""

        def attempt() -> T:
            connection = self._take()
            try:
                with connection.execute(statement, parameters) as result:
                    answer = read(result)
                self._end(connection.commit)
                return answer
            except IntegrityError as error:
                self._end(connection.rollback)
                if not lost_race(error):
                    raise
                raise LostRaceError from error
            except DBAPIError:
                self._end(connection.rollback)
                raise
            except BaseException:
                connection.invalidate()  # a signal may have interrupted the driver in the middle of a reply
                raise
            finally:
                self._put_back(connection)

        return self._database.attempt(attempt)

    def close(self) -> None:
        """Close the connections; the next statement opens another."""
        while self._idle:
            with suppress(DBAPIError):  # the server may have closed the connection
                self._idle.pop().close()

    @property
    def flavour(self) -> str:
        """The dialect; `mariadb` if it can run the files in `sql/`, whatever the URL calls it, else `mysql`.

        Connects if necessary, because only the server knows.
        """
        dialect = self._database.engine.dialect
        if dialect.name not in ("mysql", "mariadb"):
            return dialect.name
        if dialect.server_version_info is None:
            self._database.read(lambda connection: None)
        new = (dialect.server_version_info or ()) >= _MARIADB
        return "mariadb" if getattr(dialect, "is_mariadb", False) and new else "mysql"

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._database.engine.connect()
        if self._database.dialect != "sqlite":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        return connection

    def _end(self, end: Callable[[], None]) -> None:
        """End the transaction on SQLite: it has no round trips to save, but users' engines may begin its transactions
        by an event, as SQLAlchemy's documentation shows, and ignore the autocommit mode."""
        if self._database.dialect == "sqlite":
            end()

    def _put_back(self, connection: Connection) -> None:
        if connection.invalidated or len(self._idle) >= KEPT:
            connection.close()
            return
        if not connection.connection.is_detached:
            # Detached from the pool, which would send a ROLLBACK when a forked child that inherits it ends.
            connection.detach()
        self._idle.append(connection)

    def _on_dispose(self) -> None:
        if self._pid == os.getpid():  # a child disposes of what it inherited (database.py), the parent still uses it
            self.close()

    def _leave_parent(self) -> None:
        """In a forked child: the connection stays the parent's, and is kept so that nothing closes it."""
        self._pid = os.getpid()
        self._of_parents.extend(self._idle)
        self._idle = []


@cache
def statement(name: str, dialect: str, **parts: str) -> TextClause:
    """The statement in `store/sql/<name>_<dialect>.sql`; `{now}` and each of `parts` in braces are replaced."""
    source = files("laraq_sqlalchemy.store").joinpath("sql", f"{name}_{dialect}.sql").read_text(encoding="utf-8")
    for part, meaning in (*parts.items(), ("now", NOW[dialect])):
        source = source.replace(f"{{{part}}}", meaning)
    return text(source)


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    if call := method():
        call()
