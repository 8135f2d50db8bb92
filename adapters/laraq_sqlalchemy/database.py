"""Database: an engine, and how laraq uses it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar
from weakref import WeakMethod

from sqlalchemy import Connection, Engine, Executable, Pool
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from laraq.errors import ConfigurationError, StoreError
from laraq_sqlalchemy import schema, sqlite
from laraq_sqlalchemy.engine import label

T = TypeVar("T")

_DIALECTS = frozenset({"sqlite", "postgresql", "mysql", "mariadb"})

#: How often work is tried before its error counts. Many times for deadlocks: each lets somebody through.
_TRIES = 10


class Database:
    """Runs pieces of work on an engine and turns the errors of its driver into StoreErrors.

    Work is tried again after a deadlock and when its connection turns out to be dead, so it has to be written such that
    doing it twice is as good as once. A SQLite file without the tables gets them at once, for nobody installs an
    embedded database; other databases wait for `laraq migrate`.
    """

    def __init__(self, engine: Engine) -> None:
        self.dialect = engine.dialect.name
        if self.dialect not in _DIALECTS:
            raise ConfigurationError(
                f"A store works on SQLite, PostgreSQL, MariaDB and MySQL, not on {self.dialect} ({label(engine.url)})."
            )
        self.engine = engine
        self.label = label(engine.url)
        self._pools_of_parents: list[Pool] = []
        os.register_at_fork(after_in_child=partial(_call, WeakMethod(self._leave_parent)))

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns; it fetches all it needs and writes nothing."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return self.attempt(attempt)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once its transaction is committed."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                if self.dialect == "sqlite":
                    sqlite.begin_writing(connection)
                result = work(connection)
                connection.commit()
                return result

        return self.attempt(attempt)

    def execute(self, statement: Executable, parameters: Mapping[str, Any]) -> None:
        """Run one statement as a transaction of its own, in as few round trips as the driver allows."""

        def attempt() -> None:
            with self.engine.connect() as connection:
                if self.dialect == "postgresql":
                    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(statement, parameters)
                connection.commit()

        self.attempt(attempt)

    def migrate(self) -> Sequence[str]:
        """Run the migrations that the database lacks and name them."""
        return self.attempt(partial(schema.migrate, self.engine), may_migrate=False)

    def attempt(self, attempt: Callable[[], T], *, may_migrate: bool = True) -> T:
        """What `attempt` returns, called until it works or trying again does not help."""
        may_migrate = may_migrate and self.dialect == "sqlite"
        tries = _TRIES
        while True:
            tries -= 1
            try:
                return attempt()
            except SQLAlchemyError as error:
                trouble = _Trouble.of(error)
                if not tries or not (trouble is _Trouble.PASSING or (trouble is _Trouble.SCHEMA and may_migrate)):
                    # Not from `error`: its text has the statement.
                    raise self._store_error(error, trouble) from getattr(error, "orig", None)
            if trouble is _Trouble.SCHEMA:
                self.migrate()
                may_migrate = False

    def _store_error(self, error: SQLAlchemyError, trouble: _Trouble) -> StoreError:
        reason = " ".join(str(getattr(error, "orig", None) or error.args[0]).split())
        if trouble is _Trouble.SCHEMA:
            return StoreError(f"The store {self.label} lacks tables of this laraq: run `laraq migrate`. ({reason})")
        if self.dialect == "sqlite" and "locked" in reason:
            return StoreError(
                f"The store {self.label} failed: {reason} - Another transaction writes to the file. If it is one of"
                " your own, open around a dispatch, let the job wait for it (after_commit) or give the store another"
                " file (laraq_store)."
            )
        return StoreError(
            f"The store {self.label} failed: {reason}"
            " - Check that the server runs, that the URL is right, and what its user may do."
        )

    def _leave_parent(self) -> None:
        """In a forked child: leave the connections to the parent.

        The old pool is kept, for connections that nobody refers to are closed, and some drivers say goodbye to the
        server when they close: on the parent's line.
        """
        self._pools_of_parents.append(self.engine.pool)
        self.engine.dispose(close=False)


class _Trouble(Enum):
    """What an error says about trying again."""

    #: A deadlock, or a connection that was dead already.
    PASSING = auto()
    #: A table or column is not there.
    SCHEMA = auto()
    LASTING = auto()

    @classmethod
    def of(cls, error: SQLAlchemyError) -> _Trouble:
        if not isinstance(error, DBAPIError):
            return cls.LASTING
        codes = _codes(error.orig)
        if error.connection_invalidated or codes & _DEADLOCKS:
            return cls.PASSING
        return cls.SCHEMA if codes & _MISSING or _SQLITE_MISSING.search(str(error.orig)) else cls.LASTING


#: SQLSTATEs of PostgreSQL, error numbers of MySQL. 1020 is MariaDB's name for a write conflict.
_DEADLOCKS = frozenset({"40001", "40P01", 1213, 1020})
_MISSING = frozenset({"42P01", "42703", 1146, 1054})

#: SQLite has one code for all of them.
_SQLITE_MISSING = re.compile(r"^no such (table|column)|^table \S+ has no column named")


def _codes(original: BaseException | None) -> set[object]:
    """What the driver calls the error: psycopg and psycopg2 have SQLSTATEs, the drivers of MySQL numbers."""
    named = (getattr(original, "sqlstate", None), getattr(original, "pgcode", None))
    return {*named, *(getattr(original, "args", ())[:1])}


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    if call := method():
        call()
