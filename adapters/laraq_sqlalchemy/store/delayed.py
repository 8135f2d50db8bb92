"""SqlDelayed: messages that wait in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from laraq.ports import DelayedMessage, Due
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.names import stored_name
from laraq_sqlalchemy.database.upsert import insert_new
from laraq_sqlalchemy.schema.tables import delayed
from laraq_sqlalchemy.store.database import Database

_columns = delayed.c

#: Rows in one statement: some databases allow only about a thousand parameters.
_PAGE = 500


class SqlDelayed:
    """Delayed messages in the table `laraq_delayed`. On a server, `take` skips rows that another process is taking."""

    shared = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = now(database.dialect)

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all of the messages, each due in so many seconds, in one transaction."""
        # A repetition after a lost connection finds its rows, and keeps them.
        new = insert_new(self._database.dialect, delayed).values(due_at=self._now + bindparam("milliseconds"))
        rows = [
            {
                "id": message.id,
                "broker": stored_name(broker),
                "queue": stored_name(message.queue),
                "milliseconds": round(delay * 1000),
                "body": message.body,
            }
            for message, delay in messages
        ]
        if rows:
            self._database.write(lambda connection: connection.execute(new, rows))

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Return up to `limit` due messages and hide them from other callers for `seconds`; `forget` removes them."""
        of_broker = _columns.broker == stored_name(broker)
        until_next = select(func.min(_columns.due_at) - self._now).where(of_broker)
        columns = _columns.id, _columns.queue, _columns.body
        due = select(*columns).where(of_broker, _columns.due_at <= self._now).order_by(_columns.due_at).limit(limit)
        later = update(delayed).values(due_at=self._now + round(seconds * 1000))

        def work(connection: Connection) -> Due:
            rows = connection.execute(due.with_for_update(skip_locked=True)).all()
            for start in range(0, len(rows), _PAGE):
                connection.execute(later.where(_columns.id.in_([row.id for row in rows[start : start + _PAGE]])))
            return Due([_message(row) for row in rows], _seconds(connection.scalar(until_next)))

        # Usually no message is due, which this checks without a lock.
        wait = _seconds(self._database.read(lambda connection: connection.scalar(until_next)))
        return self._database.write(work) if wait == 0 else Due((), wait)

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; return how many existed. A repetition after a lost connection counts less."""

        def work(connection: Connection) -> int:
            ours = delete(delayed).where(_columns.broker == stored_name(broker))
            pages = (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))
            return sum(connection.execute(ours.where(_columns.id.in_(page))).rowcount for page in pages)

        return self._database.write(work) if ids else 0

    def count(self, broker: str, queue: str) -> int:
        """The number of messages that wait for that queue."""
        number = select(func.count()).where(*_of_queue(broker, queue))
        return self._database.read(lambda connection: connection.scalar(number)) or 0

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next first."""
        columns = _columns.id, _columns.queue, _columns.body
        ordered = select(*columns).where(*_of_queue(broker, queue)).order_by(_columns.due_at).limit(limit)
        return [_message(row) for row in self._database.read(lambda connection: connection.execute(ordered).all())]

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers with a message that has been due for longer than `seconds`."""
        late = select(_columns.broker).group_by(_columns.broker)
        late = late.having(func.min(_columns.due_at) < self._now - round(seconds * 1000))
        return self._database.read(lambda connection: connection.scalars(late).all())


def _of_queue(broker: str, queue: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _columns.broker == stored_name(broker), _columns.queue == stored_name(queue)


def _message(row: Any) -> DelayedMessage:
    return DelayedMessage(row.id, row.queue, row.body)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else max(milliseconds, 0) / 1000
