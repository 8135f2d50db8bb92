"""PostgresStore: the broker in PostgreSQL, through psycopg 3. SKIP LOCKED to reserve, LISTEN to wake."""

# ruff: noqa: S608 - the SQL is put together from the constants of this file and placeholders, never from values

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.engine import Engine

from laraq.errors import ConfigurationError, StoreError
from laraq_kombu import (
    HINT_WINDOW,
    REMEMBERED,
    HintThrottle,
    Job,
    Lease,
    Polling,
    Posting,
    Put,
    Taken,
    WakeUp,
)
from laraq_sqlalchemy.broker.connections import DriverConnections
from laraq_sqlalchemy.broker.databases.levels import Levels
from laraq_sqlalchemy.broker.databases.notifications import CHANNEL, NotifyListener
from laraq_sqlalchemy.broker.databases.queries import TableQueries
from laraq_sqlalchemy.broker.tables import ensure_tables
from laraq_sqlalchemy.database.clock import STABLE_NOW

logger = logging.getLogger(__name__)

R = TypeVar("R")

#: Seconds until rows below the low-water mark are checked again although the marks still find jobs.
LOW_WATER_AGE = 5.0

#: SQLSTATEs of a transaction that lost against another and may simply be repeated.
_LOST_RACE = {"40001", "40P01"}

_NOW = STABLE_NOW["postgresql"]

# What is due in the (queue, priority) pairs given, most urgent pair first. MATERIALIZED is a fence: a planner may
# run an inlined sub-query with LIMIT twice and lock more than it returns.
_DUE = f"""
WITH due AS MATERIALIZED (
  SELECT j.id, j.available_at
  FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(dues)s::bigint[], %(ids)s::bigint[])
    AS l (queue, priority, due, id)
  CROSS JOIN LATERAL (
    SELECT id, available_at FROM laraq_jobs
    WHERE queue = l.queue AND priority = l.priority AND (available_at, id) > (l.due, l.id) AND available_at <= {_NOW}
    ORDER BY available_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) j
  LIMIT %(limit)s
)"""

# An array and not a join, which the planner, not knowing the limit, would do by reading the whole table.
_THESE = """WHERE j.id = ANY(ARRAY(SELECT id FROM due))
RETURNING array_position(ARRAY(SELECT id FROM due), j.id),
  (ARRAY(SELECT available_at FROM due))[array_position(ARRAY(SELECT id FROM due), j.id)],
  j.id, j.queue, j.priority, j.payload"""

_RESERVE = f"""{_DUE}
UPDATE laraq_jobs j SET attempts = j.attempts + 1, reserved_at = {_NOW}, available_at = {_NOW} + %(lease)s
{_THESE}, j.attempts, j.reserved_at"""

_TAKE = f"""{_DUE}
DELETE FROM laraq_jobs j {_THESE}, j.attempts + 1, {_NOW}"""

# The priorities in use, each with its next due time. The scan goes upwards from 0: going down from the top it
# would step over every dead row at the far end of the index.
_LEVELS = f"""
WITH RECURSIVE level (queue, priority) AS (
  SELECT queue, 0::smallint FROM unnest(%(queues)s::text[]) AS q (queue)
  UNION ALL
  SELECT queue, (SELECT min(j.priority) FROM laraq_jobs j
                 WHERE j.queue = level.queue AND j.priority > level.priority)
  FROM level WHERE priority IS NOT NULL
)
SELECT queue, priority, (SELECT min(j.available_at) FROM laraq_jobs j
                         WHERE j.queue = level.queue AND j.priority = level.priority) - {_NOW}
FROM level WHERE priority IS NOT NULL"""

_OURS = """
FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(reserved)s::bigint[]) AS ours (id, attempts, reserved_at)
WHERE j.id = ours.id AND j.attempts = ours.attempts AND j.reserved_at = ours.reserved_at RETURNING j.id"""

_PUT = f"""
INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at)
SELECT queue, priority, payload, {_NOW} + delay, {_NOW}
FROM unnest(%s::text[], %s::smallint[], %s::text[], %s::bigint[])
  WITH ORDINALITY AS new (queue, priority, payload, delay, place){{where}} ORDER BY place"""

_PUT_ONE = f"""
INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at)
SELECT %s::text, %s::smallint, %s::text, {_NOW} + %s::bigint, {_NOW}{{where}}"""

# A repetition during the commit of the first put waits for it, because the row is locked.
_ONCE = f"""
WITH put AS (
  INSERT INTO laraq_puts AS known (writer, slot, number, put_at) VALUES (%s, %s, %s, {_NOW})
  ON CONFLICT (writer, slot) DO UPDATE SET number = excluded.number, put_at = excluded.put_at
  WHERE known.number <> excluded.number RETURNING 1)"""


class PostgresStore(TableQueries):
    """Workers commit asynchronously: a server crash may undo their reservations or acknowledgements, which repeats jobs
    but loses none. Producers commit as the server is configured."""

    acks_ride_along = False

    def __init__(self, engine: Engine, retry_after: float, poll: float | None = None, create: bool = False) -> None:
        if engine.dialect.driver != "psycopg":
            raise ConfigurationError(
                f"The database broker speaks psycopg 3, not {engine.dialect.driver}:"
                " use laraq-db+postgresql+psycopg://..."
            )
        self.url = engine.url
        self.retry_after = retry_after
        self.polling = Polling(first=poll or 5.0, most=poll or 5.0, hint_window=HINT_WINDOW)
        self._poll = poll
        self._create = create
        self._engine = engine
        self._connections = DriverConnections(
            engine, _prepare, "Check that the server runs, and the address, user and rights in the URL."
        )
        self._throttle = HintThrottle()
        self._lows: dict[tuple[str, int], tuple[int, int]] = {}
        self._lows_until = 0.0
        self._levels = Levels()

    def connect(self) -> None:
        """Log in and check the tables."""
        with self._connections.errors("worker"):
            self._connections.get("worker")
            ensure_tables(self._engine, create=self._create)

    def listen(self) -> WakeUp | None:
        """LISTEN over a separate connection; None behind a pooler that does not pass notifications on."""
        with self._connections.errors("listener"):
            listener = NotifyListener(self._connections)
            if listener.hears(lambda token: self._execute("SELECT pg_notify(%s, %s)", (CHANNEL, token))):
                return listener
        logger.warning(
            "No notifications arrive from %s (a pooler in transaction mode?): polling instead. Point the"
            " broker URL past the pooler for immediate starts.",
            self._connections.label,
        )
        self.polling = Polling(first=self._poll or 0.05, most=self._poll or 1.0)
        return None

    def hint(self, queues: Sequence[str]) -> None:
        due = self._throttle.due(queues, time.monotonic())
        if not due:
            return
        # After the commit and not within: a notifying transaction holds a lock of the whole database while it
        # flushes. Lost between the two, the fallback poll finds the job, so this is no reason to fail either.
        notify = (
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, queue)"
            " FROM unnest(%s::text[]) AS q (queue)"
        )
        try:
            self._execute(notify, (CHANNEL, due), role="producer")
        except StoreError as error:
            logger.warning("Idle workers were not woken: %s", error)

    def close(self) -> None:
        self._connections.close()

    # Reservations

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        if acks:
            # A separate transaction: SKIP LOCKED may wait for rows that are being deleted, and with own uncommitted
            # deletes two workers would deadlock.
            self._execute("DELETE FROM laraq_jobs WHERE id = ANY(%s)", ([ack.id for ack in acks],))
        if not limit:
            return Taken(())
        return self._due(_RESERVE, queues, limit)

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._move(f"available_at = {_NOW} + %(lease)s", leases, lease=int(self.retry_after * 1000))

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        refused = self._move(
            f"available_at = {_NOW} + %(delay)s, reserved_at = NULL, attempts = j.attempts - %(unused)s",
            leases,
            delay=int(delay * 1000),
            unused=0 if counted else 1,
        )
        self.hint([lease.queue for lease in leases])
        return refused

    # Queues

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        values: tuple[Any, ...]
        if len(postings) == 1:
            one = postings[0]
            sql, values = _PUT_ONE, (one.queue, one.priority, one.payload, int(one.delay * 1000))
        else:
            sql, values = (
                _PUT,
                (
                    [p.queue for p in postings],
                    [p.priority for p in postings],
                    [p.payload for p in postings],
                    [int(p.delay * 1000) for p in postings],
                ),
            )
        if put is None:
            self._execute(sql.format(where=""), values, role="producer")
        else:
            if put.slot == 1:
                self._execute(f"DELETE FROM laraq_puts WHERE put_at < {_NOW} - {REMEMBERED * 1000}", role="producer")
            once = _ONCE + sql.format(where=" WHERE EXISTS (SELECT 1 FROM put)")
            self._execute(once, (put.writer, put.slot, put.number, *values), role="producer")
        self.hint([posting.queue for posting in postings])

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        return self._due(_TAKE, queues, limit)

    # Inside

    def _execute(self, sql: str, values: Any = (), role: str = "worker") -> list[tuple[Any, ...]]:
        def run() -> list[tuple[Any, ...]]:
            cursor = self._connections.get(role).execute(sql, values)
            return cursor.fetchall() if cursor.description else []

        with self._connections.errors(role):
            return _repeat_lost_races(run)

    _fetch = _execute

    def _change(self, *statements: tuple[str, Any]) -> int:
        with self._connections.errors("worker"):
            for sql, values in statements:
                cursor = _repeat_lost_races(partial(self._connections.get("worker").execute, sql, values))
            return int(cursor.rowcount)

    def _due(self, sql: str, queues: Sequence[str], limit: int) -> Taken:
        """Reserve or take. Each range is read from where the last read ended: the rows before it are dead rows that
        vacuum cannot remove while an old transaction is open, and reading them slows a queue down."""
        now = time.monotonic()
        if now >= self._lows_until:
            self._lows.clear()
            self._lows_until = now + LOW_WATER_AGE
        if self._levels.stale(queues):
            self._look(queues)
        jobs = self._due_in(sql, queues, limit)
        if len(jobs) < limit and self._lows:
            self._lows.clear()
            jobs += self._due_in(sql, queues, limit - len(jobs))
        return Taken(jobs, None if len(jobs) >= limit else self._look(queues))

    def _due_in(self, sql: str, queues: Sequence[str], limit: int) -> list[Job]:
        ranges = self._levels.ranges(queues)
        arguments = {
            "queues": [queue for queue, _ in ranges],
            "priorities": [level for _, level in ranges],
            "dues": [self._lows.get(range_, (0, 0))[0] for range_ in ranges],
            "ids": [self._lows.get(range_, (0, 0))[1] for range_ in ranges],
            "limit": limit,
            "lease": int(self.retry_after * 1000),
        }
        jobs = []
        # the rows are unordered; their first column is the order in which they were found
        for _, due, id, queue, priority, payload, attempts, at in sorted(self._execute(sql, arguments)):
            jobs.append(Job(Lease(id, queue, attempts, at), payload))
            self._lows[queue, priority] = (due, id)
        return jobs

    def _look(self, queues: Sequence[str]) -> float | None:
        rows: list[Any] = self._execute(_LEVELS, {"queues": list(queues)})
        return self._levels.learn(queues, rows)

    def _move(self, what: str, leases: Sequence[Lease], **values: int) -> Sequence[Lease]:
        values_: dict[str, Any] = {
            **values,
            "ids": [lease.id for lease in leases],
            "attempts": [lease.attempts for lease in leases],
            "reserved": [lease.reserved_at for lease in leases],
        }
        moved = {row[0] for row in self._execute(f"UPDATE laraq_jobs j SET {what}{_OURS}", values_)}
        return [lease for lease in leases if lease.id not in moved]


def _prepare(connection: Any, role: str) -> None:
    connection.autocommit = True
    if role == "worker":
        # Every statement here is a walk along an index; stale statistics of a table that fills and empties
        # all day, or a compiler warming up, can only make it slower.
        connection.execute("SET synchronous_commit = off; SET enable_seqscan = off; SET jit = off")


def _repeat_lost_races(run: Callable[[], R]) -> R:
    for _ in range(10):
        try:
            return run()
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _LOST_RACE:
                raise
    return run()
