"""TableBrowser: looks into the queues of the database broker; `channel.browser()` makes one."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from kombu.utils import json as kombu_json
from sqlalchemy import Connection, NullPool, and_, create_engine, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from laraq.errors import StoreError
from laraq.messages.inspection import QueueState
from laraq_kombu import drain
from laraq_sqlalchemy.broker.store import BrokerStore
from laraq_sqlalchemy.broker.tables import jobs
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.engine import label

#: Keeps the books of jobs that are dropped when it returns.
Tell: TypeAlias = Callable[[Sequence[tuple[dict[str, Any], int, float | None]]], object]

#: Rows fetched at once.
PAGE = 500


class TableBrowser:
    """Counts on the store's own connection; lists and clears on one that is opened for it, which is rare."""

    def __init__(self, store: BrokerStore) -> None:
        self._store = store

    def size(self, queue: str) -> int:
        """Jobs in any state."""
        return self._store.count(queue).total

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""
        return int(getattr(self._store.count(queue), state))

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[tuple[dict[str, Any], int, float]]:
        """(message, reservations so far, epoch seconds of the dispatch), next one first."""
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
                    yield _message(payload), attempts, created_at / 1000

    def drain(self, queue: str, tell: Tell) -> int:
        """Drop delayed and pending jobs after `tell` was told of them, and let workers keep what they have."""
        dropped = self._drain_delayed(queue, tell)
        with self._connection() as connection:
            clock = now(connection.dialect.name)
            due = select(func.count()).where(jobs.c.queue == queue, jobs.c.available_at <= clock)
            # No more than there are: what is told may lead to callbacks, which come into the queue behind.
            most = connection.scalar(due) or 0
        return dropped + drain(
            self._store,
            queue,
            most,
            lambda jobs: tell([(_message(job.payload), job.lease.attempts - 1, None) for job in jobs]),
        )

    def _drain_delayed(self, queue: str, tell: Tell) -> int:
        """A page at a time is put off for as long as a lease, so that no worker starts what is being told; and with no
        transaction open meanwhile, for the books may be in the same SQLite file."""
        dropped = 0
        while True:
            with self._connection() as connection:
                clock = now(connection.dialect.name)
                lease = int(self._store.retry_after * 1000)
                soon = jobs.c.available_at < clock + lease // 2
                waiting = (jobs.c.queue == queue, jobs.c.reserved_at.is_(None), jobs.c.available_at > clock)
                connection.execute(update(jobs).where(*waiting, soon).values(available_at=clock + lease))
                asked = select(jobs.c.id, jobs.c.payload, jobs.c.attempts).where(*waiting).limit(PAGE)
                rows = connection.execute(asked).all()
                connection.commit()
            if not rows:
                return dropped
            tell([(_message(row.payload), row.attempts, None) for row in rows])
            with self._connection() as connection:
                told = jobs.c.id.in_([row.id for row in rows]), jobs.c.reserved_at.is_(None)
                dropped += connection.execute(delete(jobs).where(*told)).rowcount
                connection.commit()

    def clear(self, queue: str) -> int:
        """Drop the jobs of every state, and tell nobody (Illuminate/Queue/DatabaseQueue.php: clear)."""
        with self._connection() as connection:
            dropped = connection.execute(delete(jobs).where(jobs.c.queue == queue)).rowcount
            connection.commit()
            return dropped

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


def _message(payload: str) -> dict[str, Any]:
    """What is no message is shown as one without a name."""
    try:
        message = kombu_json.loads(payload)
    except Exception:  # whatever a foreign row makes of the decoders
        return {}
    return message if isinstance(message, dict) else {}
