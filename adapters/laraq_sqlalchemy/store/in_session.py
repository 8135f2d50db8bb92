"""StoreInSession: locks and cache of a SQLite file that a session of the application may be writing to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.exc import IntegrityError, UnboundExecutionError
from sqlalchemy.orm import Session

from laraq_sqlalchemy.database.trouble import lost_race
from laraq_sqlalchemy.schema import versions
from laraq_sqlalchemy.store.cache import SqlCache
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import Direct, LostRaceError
from laraq_sqlalchemy.store.locks import SqlLocks

T = TypeVar("T")


class StoreInSession:
    """Claims for a job that depends on the session's transaction: they commit or roll back with the job.

    A SQLite file has one writer. A lock acquired over a separate connection would wait for the session's transaction,
    which waits for the lock. Other processes do not see the lock before the commit, but cannot acquire it either.
    """

    def __init__(self, database: Database, session: Session) -> None:
        through = _SessionDatabase(database, session)
        direct = _SessionDirect(through)
        self.locks = SqlLocks(through, direct)
        self.cache = SqlCache(through, direct)


def shares_file(database: Database, session: Any) -> bool:
    """Whether the store is in the SQLite file that the (synchronous) session uses."""
    if database.dialect != "sqlite" or not isinstance(session, Session):
        return False
    try:
        engine = session.get_bind().engine
    except UnboundExecutionError:  # one engine for each class: the right one is unknown
        return False
    theirs, ours = engine.url.database, database.engine.url.database
    if engine.dialect.name != "sqlite" or engine.dialect.is_async or not theirs or not ours:
        return False
    return os.path.realpath(theirs) == os.path.realpath(ours)


class _SessionDatabase(Database):
    """Uses the session's connection, and leaves the end of the transaction to the session."""

    def __init__(self, database: Database, session: Session) -> None:
        # Not the inherited constructor, which handles forks: this lives only for one dispatch.
        self.dialect, self.engine, self.label = database.dialect, database.engine, database.label
        self._session = session

    def read(self, work: Callable[[Connection], T]) -> T:
        return self.attempt(lambda: work(self._session.connection()))

    write = read

    def migrate(self) -> Sequence[str]:
        return versions.upgrade(self._session.connection())


class _SessionDirect(Direct):
    """Single statements over the session's connection."""

    def __init__(self, database: _SessionDatabase) -> None:
        # Not the inherited constructor, which keeps its own connections.
        self._database = database

    def run(self, statement: Executable, parameters: Mapping[str, Any], read: Callable[[CursorResult[Any]], T]) -> T:
        def attempt(connection: Connection) -> T:
            try:
                with connection.execute(statement, parameters) as result:
                    return read(result)
            except IntegrityError as error:  # SQLite rolls back the statement, not the transaction
                if not lost_race(error):
                    raise
                raise LostRaceError from error

        return self._database.read(attempt)
