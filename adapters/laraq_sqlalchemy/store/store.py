"""SqlStore: everything laraq keeps, in one SQL database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select

from laraq.ports import StoreHealth
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.engine import open_engine
from laraq_sqlalchemy.schema import versions
from laraq_sqlalchemy.store.batches import SqlBatches
from laraq_sqlalchemy.store.cache import SqlCache
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.delayed import SqlDelayed
from laraq_sqlalchemy.store.direct import Direct
from laraq_sqlalchemy.store.failed import SqlFailedJobs
from laraq_sqlalchemy.store.in_session import StoreInSession, shares_file
from laraq_sqlalchemy.store.journal import SqlJournal
from laraq_sqlalchemy.store.limits import SqlLimits
from laraq_sqlalchemy.store.locks import SqlLocks
from laraq_sqlalchemy.store.parking import SqlParking


class SqlStore:
    """A store in SQLite, PostgreSQL, MariaDB or MySQL, in tables whose names start with `laraq_`.

    The engine stays yours: `close` does not close its connections unless `from_url` created it. A SQLite file gets its
    tables on first use, other databases from `laraq migrate` or from Alembic (`laraq_sqlalchemy.metadata`).
    """

    relational = True

    def __init__(self, engine: Engine) -> None:
        self.database = Database(engine)
        self.label = self.database.label
        self._owns_engine = False
        self._failed = SqlFailedJobs(self.database)
        self._direct = Direct(self.database)
        self._journal = SqlJournal(self.database, self._direct)
        self._batches = SqlBatches(self.database, self._direct)
        self._locks = SqlLocks(self.database, self._direct)
        self._limits = SqlLimits(self.database, self._direct)
        self._cache = SqlCache(self.database, self._direct)
        self._parking = SqlParking(self.database, self._direct, self._locks)
        self._delayed = SqlDelayed(self.database)

    @classmethod
    def from_url(cls, url: str) -> SqlStore:
        """A store that connects when it is first used; see `open_engine` for the URL."""
        store = cls(open_engine(url))
        store._owns_engine = True
        return store

    @property
    def failed(self) -> SqlFailedJobs:
        """The failed jobs in this store."""
        return self._failed

    @property
    def batches(self) -> SqlBatches:
        """The batches in this store."""
        return self._batches

    @property
    def journal(self) -> SqlJournal:
        """The journal in this store."""
        return self._journal

    @property
    def locks(self) -> SqlLocks:
        """The locks in this store."""
        return self._locks

    @property
    def limits(self) -> SqlLimits:
        """The limits in this store."""
        return self._limits

    @property
    def cache(self) -> SqlCache:
        """The cache in this store."""
        return self._cache

    @property
    def parking(self) -> SqlParking:
        """The jobs in this store that wait for a lock or for limits."""
        return self._parking

    @property
    def delayed(self) -> SqlDelayed:
        """The messages in this store that wait for their time."""
        return self._delayed

    def migrate(self) -> Sequence[str]:
        """Bring the tables to this version; return the names of the steps taken. Processes may call it concurrently."""
        return self.database.migrate()

    def examine(self) -> StoreHealth:
        """Ask the database which migrations it had."""
        if self.database.dialect == "sqlite":
            return StoreHealth()  # creates its tables itself, and has this machine's clock
        return self.database.read(self._examine)

    def _examine(self, connection: Connection) -> StoreHealth:
        moment: int = connection.execute(select(now(self.database.dialect))).one()[0]
        return StoreHealth([step.version for step in versions.missing(connection)], now=moment / 1000)

    def migration_sql(self, after: str | None = None) -> str:
        """The SQL of all migrations, or of those after the named one, without connecting; for `laraq migrate --sql`."""
        return versions.sql(self.database.engine.dialect, after)

    def within(self, session: Any) -> SqlStore | StoreInSession:
        """The store in which to claim a lock for a job that depends on the session's transaction."""
        return StoreInSession(self.database, session) if shares_file(self.database, session) else self

    def close(self) -> None:
        """Close the connections; the store may be used again and then reconnects."""
        self._direct.close()
        if self._owns_engine:
            self.database.engine.dispose()
