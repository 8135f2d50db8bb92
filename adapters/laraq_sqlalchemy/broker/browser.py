"""TableBrowser: reads the queues of the database broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, NullPool, and_, create_engine, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from laraq.errors import StoreError
from laraq.messages.inspection import QueueState
from laraq_kombu.browser import PAGE, Found, Kept, StoreBrowser
from laraq_sqlalchemy.broker.store import TableStore
from laraq_sqlalchemy.broker.tables import jobs
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.engine import label


class TableBrowser(StoreBrowser[TableStore, int]):
    """Counts over the store's own connection; lists and clears over a new one, which is rare."""

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        with self._connection() as connection:
            clock = now(connection.dialect.name)
            conditions = {
                QueueState.PENDING: and_(jobs.c.reserved_at.is_(None), jobs.c.available_at <= clock),
                QueueState.DELAYED: and_(jobs.c.reserved_at.is_(None), jobs.c.available_at > clock),
                QueueState.RESERVED: jobs.c.reserved_at.is_not(None),
            }
            first = () if state is QueueState.DELAYED else (jobs.c.priority.desc(),)
            asked = (
                select(jobs.c.payload, jobs.c.attempts, jobs.c.created_at)
                .where(jobs.c.queue == queue, conditions[state])
                .order_by(*first, jobs.c.available_at, jobs.c.id)
                .limit(limit)
            )
            with connection.execution_options(yield_per=PAGE).execute(asked) as rows:
                for payload, attempts, created_at in rows:
                    yield self._found(payload, attempts, created_at / 1000)

    def clear(self, queue: str) -> int:
        with self._connection() as connection:
            dropped = connection.execute(delete(jobs).where(jobs.c.queue == queue)).rowcount
            connection.commit()
            return dropped

    def _withhold(self, queue: str) -> Sequence[Kept[int]]:
        """Leaves no transaction open: `notify` may settle jobs in the same SQLite file."""
        with self._connection() as connection:
            clock = now(connection.dialect.name)
            lease = int(self._store.retry_after * 1000)
            soon = jobs.c.available_at < clock + lease // 2
            waiting = (jobs.c.queue == queue, jobs.c.reserved_at.is_(None), jobs.c.available_at > clock)
            connection.execute(update(jobs).where(*waiting, soon).values(available_at=clock + lease))
            rows = connection.execute(select(jobs.c.id, jobs.c.payload, jobs.c.attempts).where(*waiting).limit(PAGE))
            page = [Kept(id, payload, attempts) for id, payload, attempts in rows]
            connection.commit()
        return page

    def _drop(self, queue: str, ids: Sequence[int]) -> int:
        with self._connection() as connection:
            dropped = connection.execute(delete(jobs).where(jobs.c.id.in_(ids), jobs.c.reserved_at.is_(None))).rowcount
            connection.commit()
            return dropped

    def _due(self, queue: str) -> int:
        with self._connection() as connection:
            clock = now(connection.dialect.name)
            due = select(func.count()).where(jobs.c.queue == queue, jobs.c.available_at <= clock)
            return connection.scalar(due) or 0

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        engine = create_engine(self._store.url, poolclass=NullPool, hide_parameters=True)
        try:
            with engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise StoreError(
                f"The queues of the database broker at {label(engine.url)} cannot be read: {reason}."
                " Check that the server runs and that the tables are there (`laraq migrate`)."
            ) from error
