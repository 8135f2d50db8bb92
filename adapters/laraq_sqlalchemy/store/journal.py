"""SqlJournal: one row per writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, select

from laraq.messages.run_key import stored
from laraq.ports.journal import JournalEntry, RunState
from laraq_sqlalchemy.database.upsert import insert_new, upsert
from laraq_sqlalchemy.schema.tables import claims, journal
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import Direct

#: Shortest time that a claimed start stays claimed.
CLAIMED_FOR = timedelta(days=1)

#: Claims dropped in one transaction.
PAGE = 500

_columns = journal.c


class SqlJournal:
    """The journal in the table `laraq_journal`.

    `prune` compares moments that the writers took with the clock of its own machine.
    """

    def __init__(self, database: Database, direct: Direct) -> None:
        self._database = database
        self._direct = direct
        rows = None
        if database.dialect == "postgresql":
            # Asynchronous commit: only a crash of the server undoes it, not the death of the writer. Set within the
            # statement because it applies to one transaction, and a transaction of four round trips is four times as
            # slow (and `SET` for the session would leak through a pooler such as PgBouncer).
            values = [bindparam(column.name, type_=column.type) for column in journal.columns]
            rows = select(*values).where(func.set_config("synchronous_commit", "off", True) == "off")
        self._write = upsert(database.dialect, journal, rows)
        self._claim = insert_new(database.dialect, claims)

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        """Replace the entries of `writer`; after the return, a kill -9 of this process does not undo it."""
        values = {"writer": writer, "entries": _encode(entries), "written_at": datetime.now(UTC)}
        self._direct.run(self._write, values, lambda result: None)

    def find(self, run_key: str) -> JournalEntry | None:
        """The furthest entry of any writer about that job (highest attempt, then ended over running), or None."""
        texts = self._database.read(lambda connection: connection.scalars(select(_columns.entries)).all())
        names = run_key, stored(run_key)  # as releases before this one wrote it, and as this one does
        entries = (
            JournalEntry(run_key, attempt, RunState(state))
            for text in texts
            for key, attempt, state in json.loads(text)
            if key in names
        )
        return max(entries, key=JournalEntry.rank, default=None)

    def claim(self, run_key: str, attempt: int) -> bool:
        """Return True to exactly one caller for that start of that job, until `prune` drops it."""
        row = {"run_key": stored(run_key), "attempt": attempt, "claimed_at": datetime.now(UTC)}
        return self._database.write(lambda connection: connection.execute(self._claim, row).rowcount > 0)

    def erase(self, writer: str) -> None:
        """Forget the writer."""
        statement = delete(journal).where(_columns.writer == writer)
        self._database.write(lambda connection: connection.execute(statement))

    def prune(self, silent_for: timedelta) -> int:
        """Forget writers that have not written for that long, and old claims; return how many writers.

        A page at a time, so that no statement takes long: the first worker of a fleet may find the claims of months.
        """
        newest = datetime.now(UTC) - silent_for
        statement = delete(journal).where(_columns.written_at <= newest)
        forgotten = self._database.write(lambda connection: connection.execute(statement).rowcount)
        while self._database.write(self._drop_claims) == PAGE:
            pass
        return forgotten

    def _drop_claims(self, connection: Connection) -> int:
        # MySQL cannot limit what a subquery deletes.
        oldest = select(claims.c.run_key, claims.c.attempt).order_by(claims.c.claimed_at).limit(PAGE)
        rows = connection.execute(oldest.where(claims.c.claimed_at <= datetime.now(UTC) - CLAIMED_FOR)).all()
        if rows:
            one = delete(claims).where(claims.c.run_key == bindparam("key"), claims.c.attempt == bindparam("number"))
            connection.execute(one, [{"key": key, "number": attempt} for key, attempt in rows])
        return len(rows)


def _encode(entries: Sequence[JournalEntry]) -> str:
    return json.dumps([(stored(key), attempt, state) for key, attempt, state in entries])
