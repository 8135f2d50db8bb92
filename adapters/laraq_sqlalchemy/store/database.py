"""Database: runs laraq's work on an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Pool
from sqlalchemy.exc import SQLAlchemyError

from laraq.errors import ConfigurationError, StoreError, StoreRefusedError
from laraq.process.forks import after_fork, busy
from laraq_sqlalchemy.database import sqlite
from laraq_sqlalchemy.database.engine import label
from laraq_sqlalchemy.database.trouble import UNSENDABLE, Trouble, exceeds_packet
from laraq_sqlalchemy.schema import versions

T = TypeVar("T")

_DIALECTS = frozenset({"sqlite", "postgresql", "mysql", "mariadb"})

#: Tries before an error of the work is raised. Many for deadlocks: each lets one transaction through.
_TRIES = 10


class Database:
    """Runs pieces of work on an engine and converts errors of its driver to StoreErrors.

    Work is retried after a deadlock, and if its connection turns out to be dead, so it must be safe to run twice. A
    SQLite file without the tables gets them at once, because an embedded database needs no installation; other
    databases wait for `laraq migrate`.
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
        after_fork(self._leave_parent)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which must fetch all it needs and write nothing."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return self.attempt(attempt)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work` once its transaction is committed."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                if self.dialect == "sqlite":
                    sqlite.begin_writing(connection)
                result = work(connection)
                connection.commit()
                return result

        return self.attempt(attempt)

    def execute(self, statement: Executable, parameters: Mapping[str, Any]) -> None:
        """Run one statement as a separate transaction, in as few round trips as the driver allows."""

        def attempt() -> None:
            with self.engine.connect() as connection:
                if self.dialect == "postgresql":
                    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(statement, parameters)
                connection.commit()

        self.attempt(attempt)

    def migrate(self) -> Sequence[str]:
        """Run the missing migrations and return their names."""
        return self.attempt(partial(versions.migrate, self.engine), may_migrate=False)

    def attempt(self, attempt: Callable[[], T], *, may_migrate: bool = True) -> T:
        """Return the result of `attempt`, called until it succeeds or a retry does not help."""
        may_migrate = may_migrate and self.dialect == "sqlite"
        tries = _TRIES
        while True:
            tries -= 1
            try:
                with busy:
                    return attempt()
            except UNSENDABLE as error:  # from the driver, before it called the server
                raise self._refused(error) from error
            except SQLAlchemyError as error:
                trouble = Trouble.of(error)
                if trouble is Trouble.PASSING and exceeds_packet(error, self.engine):
                    trouble = Trouble.REFUSED
                if not tries or not (trouble is Trouble.PASSING or (trouble is Trouble.SCHEMA and may_migrate)):
                    # Not from `error`: its text contains the statement.
                    raise self._store_error(error, trouble) from getattr(error, "orig", None)
            if trouble is Trouble.SCHEMA:
                self.migrate()
                may_migrate = False

    def _store_error(self, error: SQLAlchemyError, trouble: Trouble) -> StoreError:
        if trouble is Trouble.REFUSED:
            return self._refused(getattr(error, "orig", None) or error)
        reason = _reason(getattr(error, "orig", None) or error)
        if trouble is Trouble.SCHEMA:
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

    def _refused(self, error: BaseException) -> StoreRefusedError:
        return StoreRefusedError(
            f"The store {self.label} does not take what it was given: {_reason(error)}"
            " - A value is too large, too long or of a wrong type."
        )

    def _leave_parent(self) -> None:
        """In a forked child: leave the connections to the parent.

        The old pool is kept, because unreferenced connections are closed, and some drivers send a message to the server
        when they close: over the parent's connection.
        """
        self._pools_of_parents.append(self.engine.pool)
        self.engine.dispose(close=False)


def _reason(error: BaseException) -> str:
    """The reason on one line, shortened: drivers quote the value that was too long."""
    return " ".join(str(error.args[0] if isinstance(error, SQLAlchemyError) else error).split())[:500]
