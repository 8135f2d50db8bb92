"""Expired: deletes rows that have expired."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.store.database import Database

#: Seconds between two sweeps of one process, and before its first, so that short-lived ones never sweep.
INTERVAL = 60.0

#: Rows of one sweep, so that none takes long; far more than expire from one process in an interval.
BATCH = 1000


class Expired:
    """Sweeps one table now and then, during other work. Expired rows have no meaning, they only take space."""

    def __init__(self, database: Database, table: Table, ends_at: ColumnElement[int]) -> None:
        self._database = database
        self._table = table
        self._over = ends_at <= now(database.dialect)
        self._next = time.monotonic() + INTERVAL

    def sweep(self) -> None:
        """Delete expired rows if it is time to."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._database.write(self._delete)

    def _delete(self, connection: Connection) -> None:
        # MySQL cannot limit a DELETE with a subquery. The second check at the end spares rows renewed meanwhile.
        name = self._table.c.name
        names = connection.scalars(select(name).where(self._over).limit(BATCH)).all()
        connection.execute(delete(self._table).where(name.in_(names), self._over))
