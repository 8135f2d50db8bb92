"""TableQueries: the rare queries of a broker's tables, with the same SQL for every database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, literal, or_, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.sql.elements import ClauseElement

from laraq_kombu import QueueCount, Route
from laraq_sqlalchemy.broker.tables import bindings, jobs
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.upsert import upsert


class TableQueries(ABC):
    """The part of a store where speed does not matter: counting, purging and the bindings."""

    _engine: Engine

    @abstractmethod
    def _fetch(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Read rows."""

    @abstractmethod
    def _change(self, *statements: tuple[str, Any]) -> int:
        """Write; return the number of rows that the last statement changed."""

    def count(self, queue: str) -> QueueCount:
        free, due = jobs.c.reserved_at.is_(None), jobs.c.available_at <= self._now
        states = (case((free & due, 1)), case((free & ~due, 1)), jobs.c.reserved_at)
        (counts,) = self._fetch(*self._compiled(select(*map(func.count, states)).where(jobs.c.queue == queue)))
        return QueueCount(*counts)

    def purge(self, queue: str) -> int:
        free = jobs.c.reserved_at.is_(None)
        return self._change(self._compiled(delete(jobs).where(jobs.c.queue == queue, free)))

    def bind(self, route: Route, expires_in: float | None) -> None:
        expires_at = None if expires_in is None else self._in(expires_in)
        row = upsert(self._engine.dialect.name, bindings).values(**route._asdict(), expires_at=expires_at)
        self._change(self._compiled(row))

    def unbind(self, queue: str) -> None:
        self._change(*(self._compiled(delete(table).where(table.c.queue == queue)) for table in (bindings, jobs)))

    def routes(self, exchange: str) -> Sequence[Route]:
        columns = [bindings.c[name] for name in Route._fields]
        lives = or_(bindings.c.expires_at.is_(None), bindings.c.expires_at > self._now)
        rows = self._fetch(*self._compiled(select(*columns).where(bindings.c.exchange == exchange, lives)))
        return [Route(*row) for row in rows]

    def renew(self, queues: Sequence[str], expires_in: float) -> None:
        expiring = bindings.c.expires_at.is_not(None) & bindings.c.queue.in_(queues)
        self._change(self._compiled(update(bindings).where(expiring).values(expires_at=self._in(expires_in))))

    def sweep(self) -> int:
        over = bindings.c.expires_at <= self._now
        queues = [queue for (queue,) in self._fetch(*self._compiled(select(bindings.c.queue).where(over).distinct()))]
        if not queues:
            return 0
        return self._change(
            self._compiled(delete(jobs).where(jobs.c.queue.in_(queues))),
            self._compiled(delete(bindings).where(bindings.c.queue.in_(queues), over)),
        )

    @property
    def _now(self) -> ColumnElement[int]:
        return now(self._engine.dialect.name)

    def _in(self, seconds: float) -> ColumnElement[int]:
        return self._now + literal(int(seconds * 1000))  # a plain number would be named after the clock

    def _compiled(self, statement: ClauseElement) -> tuple[str, Any]:
        """The statement for the driver, whose connections are used without SQLAlchemy."""
        compiled: Any = statement.compile(self._engine, compile_kwargs={"render_postcompile": True})
        values = compiled.params
        return str(compiled), [values[name] for name in compiled.positiontup] if compiled.positional else values
