"""SqlCache: texts and counts in a table."""

from __future__ import annotations

from math import ceil
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    cast,
    delete,
    select,
    update,
)

from laraq.ports import Cached
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.names import stored_name
from laraq_sqlalchemy.database.upsert import insert_new, upsert
from laraq_sqlalchemy.schema.tables import cache
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import Direct
from laraq_sqlalchemy.store.expired import Expired

_columns = cache.c


class SqlCache:
    """A cache in the table `laraq_cache`, with one statement per call.

    A call that is repeated, because its connection broke before the reply, may count twice, and `add` then returns
    False.
    """

    def __init__(self, database: Database, direct: Direct) -> None:
        self._database = database
        self._direct = direct
        self._expired = Expired(database, cache, _columns.ends_at)
        self._now = now(database.dialect)
        self._alive = _columns.ends_at > self._now
        self._left = (_columns.ends_at - self._now).label("left")

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""
        found = self._direct.run(self._live(key), {}, lambda result: result.one_or_none())
        return None if found is None else _cached(found)

    def peek(self, key: str) -> str | None:
        """The live value without its end, or None."""
        found = self.get(key)
        return None if found is None else found.value

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value to live for `seconds`, replacing any other."""
        self._expired.sweep()
        row = {"name": stored_name(key), "value": value, "ends_at": self._ends_at(seconds)}
        self._direct.run(upsert(self._database.dialect, cache).values(row), {}, lambda result: None)

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is live; of any number of racing calls exactly one returns True."""
        self._expired.sweep()
        row = {"name": stored_name(key), "value": value, "ends_at": self._ends_at(seconds)}
        new = insert_new(self._database.dialect, cache).values(row)
        dead = update(cache).where(_columns.name == row["name"], ~self._alive).values(row)
        return any(self._direct.run(statement, {}, lambda result: result.rowcount > 0) for statement in (new, dead))

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count atomically; the first call lets it live for `seconds`, later calls keep that end."""
        while (counted := self._add_to_live(key, amount)) is None:
            if self.add(key, str(amount), seconds):
                return Cached(str(amount), seconds)
        return _cached(counted)

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop the value (only while it is still `value`, when given); return whether it existed."""
        ours = delete(cache).where(_columns.name == stored_name(key), self._alive)
        if value is not None:
            # With an appended character, because MySQL ignores spaces at the end in comparisons.
            ours = ours.where(_columns.value.concat("|") == f"{value}|")
        return self._direct.run(ours, {}, lambda result: result.rowcount > 0)

    def _live(self, key: str) -> Select[Any]:
        return select(_columns.value, self._left).where(_columns.name == stored_name(key), self._alive)

    def _add_to_live(self, key: str, amount: int) -> Row[Any] | None:
        count = cast(cast(_columns.value, BigInteger) + amount, Text)
        more = update(cache).where(_columns.name == stored_name(key), self._alive).values(value=count)
        if self._database.engine.dialect.update_returning:
            returning = more.returning(_columns.value, self._left)
            return self._direct.run(returning, {}, lambda result: result.one_or_none())

        def work(connection: Connection) -> Row[Any] | None:
            # The row stays locked until the commit, so no other count comes between the two.
            return connection.execute(self._live(key)).one() if connection.execute(more).rowcount else None

        return self._database.write(work)

    def _ends_at(self, seconds: float) -> ColumnElement[int]:
        return self._now + ceil(seconds * 1000)


def _cached(found: Row[Any]) -> Cached:
    return Cached(found.value, max(found.left, 0) / 1000)
