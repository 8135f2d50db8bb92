"""SqliteStore: the broker in a file. One writer at a time, so every step is one short transaction."""

# ruff: noqa: S608 - the SQL is put together from the constants of this file and placeholders, never from values

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Engine

from laraq.errors import ConfigurationError
from laraq_kombu import REMEMBERED, Job, Lease, Polling, Posting, Put, Taken, WakeUp
from laraq_sqlalchemy.broker.connections import DriverConnections
from laraq_sqlalchemy.broker.databases.datagrams import DatagramListener, DatagramSender, mailboxes
from laraq_sqlalchemy.broker.databases.queries import TableQueries
from laraq_sqlalchemy.broker.databases.turnstile import Turnstile
from laraq_sqlalchemy.broker.tables import create_tables, missing_tables

_INSERT = "INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at, attempts) VALUES (?,?,?,?,?,0)"
_DUE = (
    "SELECT id, attempts, payload FROM laraq_jobs WHERE queue=? AND priority=? AND available_at<=?"
    " ORDER BY available_at, id LIMIT ?"
)
_RESERVE = "UPDATE laraq_jobs SET attempts=attempts+1, reserved_at=?, available_at=? WHERE id IN ({})"
_OURS = " WHERE id=? AND attempts=? AND reserved_at=?"


class SqliteStore(TableQueries):
    """The worker's connection runs with synchronous=NORMAL: a power failure may undo its last steps, which repeats
    jobs. A producer's runs with FULL, so that an accepted job is never lost."""

    acks_ride_along = True

    def __init__(self, engine: Engine, retry_after: float, poll: float | None = None) -> None:
        database = engine.url.database
        assert database  # open_engine refuses URLs without a file
        self.url = engine.url
        self.retry_after = retry_after
        self.polling = Polling(first=poll or 1.0, most=poll or 1.0)
        self._engine = engine
        self._connections = DriverConnections(
            engine,
            _prepare,
            "Check that the file is writable, on a local disk, and not held by a long write. Past a transaction of your"
            " own that writes to it nothing can be sent: make the job part of it, or let it wait (after_commit).",
        )
        self._turnstile = Turnstile(database)
        self._mailboxes = mailboxes(database)
        self._sender = DatagramSender(self._mailboxes)

    def connect(self) -> None:
        """Open the file, and create missing tables."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(f"The database broker needs SQLite 3.35, this is {sqlite3.sqlite_version}.")
        with self._connections.errors("worker"):
            if missing_tables(self._engine):  # check first: creating them waits for other writers of the file
                with self._turnstile.turn():
                    create_tables(self._engine)

    def listen(self) -> WakeUp:
        """Open a mailbox for this process."""
        with self._connections.errors("worker"):
            return DatagramListener(self._mailboxes)

    def hint(self, queues: Sequence[str]) -> None:
        """Notify listening workers of the queues."""
        with contextlib.suppress(OSError):  # only a hint: the poll finds the job as well
            self._sender.send(dict.fromkeys(queues))

    def close(self) -> None:
        """Close the file."""
        self._connections.close()
        self._turnstile.close()
        self._sender.close()

    # Reservations

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        if not acks and not (limit and self._any_due(queues)):
            return Taken((), self._next_due(queues) if limit else None)
        jobs: list[Job] = []
        with self._write("worker") as cursor:
            if acks:
                cursor.execute(f"DELETE FROM laraq_jobs WHERE id IN ({_marks(acks)})", [a.id for a in acks])
            now = _now()
            until = now + int(self.retry_after * 1000)
            for queue, rows in self._due(cursor, queues, limit, now):
                ids = [row[0] for row in rows]
                cursor.execute(_RESERVE.format(_marks(ids)), [now, until, *ids])
                jobs.extend(Job(Lease(id, queue, attempts + 1, now), payload) for id, attempts, payload in rows)
        return Taken(jobs, None if len(jobs) >= limit else self._next_due(queues))

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._write("worker") as cursor:
            until = _now() + int(self.retry_after * 1000)
            return [lease for lease in leases if not self._move(cursor, "available_at=?", [until], lease)]

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        with self._write("worker") as cursor:
            due = _now() + int(delay * 1000)
            what = f"available_at=?, reserved_at=NULL, attempts=attempts-{0 if counted else 1}"
            refused = [lease for lease in leases if not self._move(cursor, what, [due], lease)]
        self.hint([lease.queue for lease in leases])
        return refused

    # Queues

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        with self._write("producer") as cursor:
            now = _now()
            if put is not None and not self._is_new(cursor, put, now):
                return
            cursor.executemany(
                _INSERT, [(p.queue, p.priority, p.payload, now + int(p.delay * 1000), now) for p in postings]
            )
        self.hint([posting.queue for posting in postings])

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        if not self._any_due(queues):
            return Taken((), self._next_due(queues))
        jobs: list[Job] = []
        with self._write("worker") as cursor:
            now = _now()
            for queue, rows in self._due(cursor, queues, limit, now):
                ids = [row[0] for row in rows]
                cursor.execute(f"DELETE FROM laraq_jobs WHERE id IN ({_marks(ids)})", ids)
                jobs.extend(Job(Lease(id, queue, count + 1, now), payload) for id, count, payload in rows)
        return Taken(jobs, None if len(jobs) >= limit else self._next_due(queues))

    # Inside

    def _fetch(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        with self._read() as cursor:
            return cursor.execute(sql, values).fetchall()

    def _change(self, *statements: tuple[str, Any]) -> int:
        with self._write("worker") as cursor:
            for sql, values in statements:
                cursor.execute(sql, values)
            return cursor.rowcount

    @contextmanager
    def _write(self, role: str) -> Iterator[sqlite3.Cursor]:
        with self._connections.errors(role):
            cursor: sqlite3.Cursor = self._connections.get(role).cursor()
            with self._turnstile.turn():
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    yield cursor
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
                cursor.execute("COMMIT")

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Cursor]:
        with self._connections.errors("worker"):
            yield self._connections.get("worker").cursor()

    @staticmethod
    def _levels(cursor: sqlite3.Cursor, queue: str) -> list[int]:
        """The priorities to check, highest first: one index probe for each priority in use above 0, plus one.

        Searched upwards, because there are no rows above the highest to step over.
        """
        levels = [0]
        while True:
            row = cursor.execute(
                "SELECT min(priority) FROM laraq_jobs WHERE queue=? AND priority>?", (queue, levels[-1])
            ).fetchone()
            if row[0] is None:
                return levels[::-1]
            levels.append(row[0])

    def _due(
        self, cursor: sqlite3.Cursor, queues: Sequence[str], limit: int, now: int
    ) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
        for queue in queues:
            if limit <= 0:
                return
            for level in self._levels(cursor, queue):
                rows = cursor.execute(_DUE, (queue, level, now, limit)).fetchall()
                if rows:
                    limit -= len(rows)
                    yield queue, rows
                if limit <= 0:
                    return

    def _earliest(self, cursor: sqlite3.Cursor, queues: Sequence[str]) -> int | None:
        times = [
            cursor.execute(
                "SELECT min(available_at) FROM laraq_jobs WHERE queue=? AND priority=?", (queue, level)
            ).fetchone()[0]
            for queue in queues
            for level in self._levels(cursor, queue)
        ]
        return min((due for due in times if due is not None), default=None)

    def _any_due(self, queues: Sequence[str]) -> bool:
        # A read first: an idle worker must not queue for the write lock.
        with self._read() as cursor:
            earliest = self._earliest(cursor, queues)
        return earliest is not None and earliest <= _now()

    def _next_due(self, queues: Sequence[str]) -> float | None:
        with self._read() as cursor:
            earliest = self._earliest(cursor, queues)
        return None if earliest is None else max(earliest - _now(), 0) / 1000

    @staticmethod
    def _is_new(cursor: sqlite3.Cursor, put: Put, now: int) -> bool:
        if put.slot == 1:
            cursor.execute("DELETE FROM laraq_puts WHERE put_at<?", (now - REMEMBERED * 1000,))
        cursor.execute(
            "INSERT INTO laraq_puts (writer, slot, number, put_at) VALUES (?,?,?,?) ON CONFLICT (writer, slot)"
            " DO UPDATE SET number=excluded.number, put_at=excluded.put_at WHERE number<>excluded.number",
            (put.writer, put.slot, put.number, now),
        )
        return cursor.rowcount == 1

    @staticmethod
    def _move(cursor: sqlite3.Cursor, what: str, values: list[int], lease: Lease) -> bool:
        cursor.execute(
            f"UPDATE laraq_jobs SET {what}{_OURS}",
            [*values, lease.id, lease.attempts, lease.reserved_at],
        )
        return cursor.rowcount == 1


def _prepare(connection: sqlite3.Connection, role: str) -> None:
    # The driver would open transactions on its own, deferred ones, which fail instead of waiting.
    connection.isolation_level = None
    connection.text_factory = _text
    connection.execute(f"PRAGMA synchronous={'FULL' if role == 'producer' else 'NORMAL'}")


def _text(raw: bytes) -> str | bytes:
    """Text, or bytes if they are not UTF-8: SQLite stores any bytes, and the driver would refuse to read other rows."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _now() -> int:
    return time.time_ns() // 1_000_000


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
