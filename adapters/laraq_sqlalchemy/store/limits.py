"""SqlLimits: counts of aligned windows in a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import mysql

from laraq.errors import StoreError
from laraq.ports import Demand, Grant, Usage
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.names import stored_name
from laraq_sqlalchemy.database.upsert import upsert
from laraq_sqlalchemy.schema.tables import limits
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import ONE_TRIP, Direct, LostRaceError, statement
from laraq_sqlalchemy.store.expired import Expired

_columns = limits.c

#: Races for the rest of a limit that may be lost in a row; usually at most one is.
_RACES = 100

#: Creates and locks the rows of limits, in the given order; for MySQL.
_lock_rows = mysql.insert(limits).on_duplicate_key_update(used=_columns.used)

#: The demands as rows, for MariaDB.
_ASKED = """JSON_TABLE(:demands, '$[*]' COLUMNS (
  place INT PATH '$.place',
  name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.name',
  maximum BIGINT PATH '$.maximum',
  length BIGINT PATH '$.length',
  cost BIGINT PATH '$.cost'
)) AS asked"""


class _Asked(NamedTuple):
    """A demand in the form of the database."""

    place: int
    name: str
    maximum: int
    #: Milliseconds.
    length: int
    cost: int

    def row(self, used: int, ends_at: int) -> dict[str, Any]:
        """The row of the table."""
        return {
            "name": self.name, "used": used, "maximum": self.maximum, "length": self.length, "ends_at": ends_at
        }  # fmt: skip


class _Window(NamedTuple):
    """The window of one demand; the times are the server's, in milliseconds since the epoch."""

    granted: bool
    #: Including the cost, if it was granted.
    used: int
    ends_at: int
    now: int


class SqlLimits:
    """Limits in the table `laraq_limits`, one row each.

    A take is one round trip for any number of limits; more on MySQL, whose SQL cannot express it, and none on SQLite.
    The library `limits` has no SQL storage, and its `hit` takes from one limit at a time, so a refusal by the second
    has already used the first. A take that is repeated, because its connection broke before the reply, may use its cost
    twice, but never admits more.
    """

    def __init__(self, database: Database, direct: Direct) -> None:
        self._database = database
        self._direct = direct
        self._expired = Expired(database, limits, _columns.ends_at)
        self._now = now(database.dialect)
        self._upsert = upsert(database.dialect, limits)

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically; no window ever exceeds its maximum."""
        self._expired.sweep()
        asked = [
            _Asked(place, stored_name(demand.key), demand.maximum, demand.milliseconds, demand.cost)
            for place, demand in enumerate(demands)
        ]
        flavour = self._direct.flavour
        windows = self._take_in_one(flavour, asked) if flavour in ONE_TRIP else self._take_in_steps(asked)
        granted = all(window.granted for window in windows)
        pairs = list(zip(asked, windows, strict=True))
        waits = [window.ends_at - window.now for each, window in pairs if window.used + each.cost > each.maximum]
        # 1 ms after a race lost at the end of a window, when the next window was read.
        wait = 0 if granted else max(waits, default=1)
        return Grant(granted, wait / 1000, tuple(max(each.maximum - window.used, 0) for each, window in pairs))

    def usage(self, key: str) -> Usage:
        """What was taken in the current window; nothing, ending in 0 s, when there is none."""
        left = (_columns.ends_at - self._now).label("left")
        window = select(_columns.used, left).where(_columns.name == stored_name(key), _columns.ends_at > self._now)
        found = self._direct.run(window, {}, lambda result: result.one_or_none())
        return Usage(0, 0.0) if found is None else Usage(found.used, max(found.left, 0) / 1000)

    def clear(self, key: str) -> None:
        """Reset the count."""
        self._direct.run(delete(limits).where(_columns.name == stored_name(key)), {}, lambda result: None)

    def _take_in_one(self, flavour: str, asked: list[_Asked]) -> list[_Window]:
        take = statement("take", flavour, asked=_ASKED)
        parameters = {"demands": json.dumps([each._asdict() for each in asked], ensure_ascii=False)}
        for _ in range(_RACES):
            with suppress(LostRaceError):
                return self._direct.run(take, parameters, lambda result: [_Window._make(row) for row in result])
        raise StoreError(
            f"The store {self._database.label} refused {_RACES} takes in a row."
            " Check that its table laraq_limits is as `laraq migrate` makes it."
        )

    def _take_in_steps(self, asked: list[_Asked]) -> list[_Window]:
        def look(connection: Connection) -> list[_Window]:
            moment = connection.scalars(select(self._now)).one()
            names = _columns.name.in_([each.name for each in asked])
            rows = connection.execute(select(_columns.name, _columns.used, _columns.ends_at).where(names)).all()
            live = {name: (used, ends_at) for name, used, ends_at in rows if ends_at > moment}
            found = [(each, *live.get(each.name, (0, moment - moment % each.length + each.length))) for each in asked]
            granted = all(used + each.cost <= each.maximum for each, used, _ in found)
            return [_Window(granted, used, ends_at, moment) for _, used, ends_at in found]

        def take(connection: Connection) -> list[_Window]:
            if self._database.dialect != "sqlite":  # which has only one writer at a time
                connection.execute(_lock_rows, [each.row(0, 0) for each in sorted(asked, key=lambda each: each.name)])
            before = look(connection)
            if not before[0].granted:
                return before
            after = [window._replace(used=window.used + each.cost) for each, window in zip(asked, before, strict=True)]
            rows = [each.row(window.used, window.ends_at) for each, window in zip(asked, after, strict=True)]
            connection.execute(self._upsert, rows)
            return after

        # A refusal only reads, and need not queue behind the writers.
        windows = self._database.read(look)
        return self._database.write(take) if windows[0].granted else windows
