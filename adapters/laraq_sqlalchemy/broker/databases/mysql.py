"""MySqlStore: the broker in MariaDB (10.6+) or MySQL (8.0.1+). These have no notifications, so workers poll."""

# ruff: noqa: S608 - the SQL is put together from the constants of this file and placeholders, never from values

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.engine import Engine

from laraq.errors import ConfigurationError
from laraq_kombu import REMEMBERED, SLOTS, Job, Lease, Polling, Posting, Put, Taken, WakeUp
from laraq_sqlalchemy.broker.connections import DriverConnections
from laraq_sqlalchemy.broker.databases.levels import Levels
from laraq_sqlalchemy.broker.databases.queries import TableQueries
from laraq_sqlalchemy.broker.tables import ensure_tables
from laraq_sqlalchemy.database.clock import STABLE_NOW

R = TypeVar("R")

#: ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK: the transaction lost against another and may simply be repeated.
_LOST_RACE = {1205, 1213}

_NOW = STABLE_NOW["mysql"]

_DUE = f"""
SELECT id, attempts, payload, {_NOW} FROM laraq_jobs
WHERE queue = %s AND priority = %s AND available_at <= {_NOW}
ORDER BY available_at, id LIMIT %s FOR UPDATE SKIP LOCKED"""

_PUT = f"""
INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at)
VALUES (%s, %s, %s, {_NOW} + %s, {_NOW})"""

_PUT_FIRST = f"INSERT INTO laraq_puts (writer, slot, number, put_at) VALUES (%s, %s, %s, {_NOW})"
_PUT_NEXT = f"UPDATE laraq_puts SET number = %s, put_at = {_NOW} WHERE writer = %s AND slot = %s AND number <> %s"

#: ER_DUP_ENTRY
_DUPLICATE = 1062

_OURS = " WHERE id = %s AND attempts = %s AND reserved_at = %s"


class MySqlStore(TableQueries):
    """Sessions run READ COMMITTED: the default REPEATABLE READ locks the gaps between rows, where producers
    insert."""

    acks_ride_along = False

    def __init__(self, engine: Engine, retry_after: float, poll: float | None = None, create: bool = False) -> None:
        self.url = engine.url
        self.retry_after = retry_after
        self.polling = Polling(first=poll or 0.05, most=poll or 1.0)
        self._create = create
        self._engine = engine
        self._connections = DriverConnections(
            engine, _prepare, "Check that the server runs, and the address, user and rights in the URL."
        )
        self._levels = Levels()

    def connect(self) -> None:
        """Log in, check the version and the tables."""
        with self._connections.errors("worker"):
            self._connections.get("worker")
            ensure_tables(self._engine, create=self._create)
        dialect: Any = self._engine.dialect
        oldest = (10, 6) if dialect.is_mariadb else (8, 0, 1)
        if tuple(dialect.server_version_info) < oldest:
            raise ConfigurationError(
                f"The database broker needs SKIP LOCKED: MariaDB 10.6 or MySQL 8.0.1, but"
                f" {self._connections.label} is {'.'.join(map(str, dialect.server_version_info))}."
            )

    def listen(self) -> WakeUp | None:
        """Return None: there are no notifications."""
        return None

    def hint(self, queues: Sequence[str]) -> None:
        """Nothing to do: there are no notifications."""

    def close(self) -> None:
        self._connections.close()

    # Reservations

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        if acks:
            self._execute(f"DELETE FROM laraq_jobs WHERE id IN ({_marks(acks)})", [ack.id for ack in acks])
        if not limit:
            return Taken(())
        reserve = (
            f"UPDATE laraq_jobs SET attempts=attempts+1, reserved_at=%s, available_at=%s+{int(self.retry_after * 1000)}"
        )
        return self._due(
            queues,
            limit,
            lambda cursor, ids, now: cursor.execute(f"{reserve} WHERE id IN ({_marks(ids)})", [now, now, *ids]),
        )

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._move(f"available_at = {_NOW} + {int(self.retry_after * 1000)}", leases)

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        unused = 0 if counted else 1
        # attempts last: MySQL evaluates assignments from left to right, and WHERE before them
        what = f"available_at = {_NOW} + {int(delay * 1000)}, reserved_at = NULL, attempts = attempts - {unused}"
        return self._move(what, leases)

    # Queues

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        rows = [(p.queue, p.priority, p.payload, int(p.delay * 1000)) for p in postings]

        def run(cursor: Any) -> None:
            if put is None or self._is_new(cursor, put):
                cursor.executemany(_PUT, rows)

        self._transact(run, "producer")

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        return self._due(
            queues,
            limit,
            lambda cursor, ids, now: cursor.execute(f"DELETE FROM laraq_jobs WHERE id IN ({_marks(ids)})", ids),
        )

    # Inside

    def _transact(self, work: Callable[[Any], R], role: str = "worker") -> R:
        """Run `work` in a transaction, again if it lost a race against another."""

        def once() -> R:
            cursor = self._connections.get(role).cursor()
            try:
                if role == "worker":
                    cursor.execute("BEGIN")
                result = work(cursor)
                cursor.execute("COMMIT")
            finally:
                cursor.close()
            return result

        with self._connections.errors(role):
            for _ in range(10):
                try:
                    return once()
                except Exception as error:
                    if not error.args or error.args[0] not in _LOST_RACE:
                        raise
                    self._connections.get(role).rollback()
            return once()

    def _execute(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        def run(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []

        return self._transact(run)

    _fetch = _execute

    def _change(self, *statements: tuple[str, Any]) -> int:
        def run(cursor: Any) -> int:
            for sql, values in statements:
                cursor.execute(sql, values)
            return int(cursor.rowcount)

        return self._transact(run)

    @staticmethod
    def _is_new(cursor: Any, put: Put) -> bool:
        """Record the put, and lock the record until the transaction ends; False if it existed."""
        if put.slot == 1:
            cursor.execute(f"DELETE FROM laraq_puts WHERE put_at < {_NOW} - {REMEMBERED * 1000}")
        if put.number > SLOTS and cursor.execute(_PUT_NEXT, (put.number, put.writer, put.slot, put.number)):
            return True
        try:
            cursor.execute(_PUT_FIRST, (put.writer, put.slot, put.number))
        except Exception as error:
            if error.args and error.args[0] == _DUPLICATE:
                return False
            raise
        return True

    def _due(self, queues: Sequence[str], limit: int, claim: Callable[[Any, list[int], int], object]) -> Taken:
        if self._levels.stale(queues):
            self._look(queues)

        def run(cursor: Any) -> list[Job]:
            jobs: list[Job] = []
            for queue, level in self._levels.ranges(queues):
                cursor.execute(_DUE, (queue, level, limit - len(jobs)))
                rows = cursor.fetchall()
                if rows:
                    claim(cursor, [row[0] for row in rows], rows[0][3])
                    jobs.extend(Job(Lease(id, queue, n + 1, now), payload) for id, n, payload, now in rows)
                if len(jobs) >= limit:
                    break
            return jobs

        jobs = self._transact(run)
        return Taken(jobs, None if len(jobs) >= limit else self._look(queues))

    def _look(self, queues: Sequence[str]) -> float | None:
        rows = self._execute(
            f"SELECT queue, priority, min(available_at) - {_NOW} FROM laraq_jobs"
            f" WHERE queue IN ({_marks(queues)}) GROUP BY queue, priority",
            queues,
        )
        return self._levels.learn(queues, [(queue, priority, int(left)) for queue, priority, left in rows])

    def _move(self, what: str, leases: Sequence[Lease]) -> Sequence[Lease]:
        def run(cursor: Any) -> list[Lease]:
            refused = []
            for lease in leases:
                cursor.execute(
                    f"UPDATE laraq_jobs SET {what}{_OURS}",
                    (lease.id, lease.attempts, lease.reserved_at),
                )
                if cursor.rowcount != 1:
                    refused.append(lease)
            return refused

        return self._transact(run)


def _prepare(connection: Any, role: str) -> None:
    # A producer only runs transactions, each of which begins implicitly: one round trip less for every job.
    connection.autocommit(role == "worker")
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    cursor.close()


def _marks(values: Sequence[object]) -> str:
    return ",".join(["%s"] * len(values))
