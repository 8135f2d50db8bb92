"""SqlFailedJobs: failed jobs in a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Delete, Row, delete, func, select, tuple_

from laraq.messages.failure import FailedJob, FailedJobQuery, storable
from laraq_sqlalchemy.database.upsert import upsert
from laraq_sqlalchemy.schema.tables import failed_jobs
from laraq_sqlalchemy.store.database import Database

_columns = failed_jobs.c

#: How many records are dropped by one statement.
_PAGE = 500


class SqlFailedJobs:
    """Failed jobs in the table `laraq_failed_jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._record = upsert(database.dialect, failed_jobs)

    def record(self, failed: FailedJob) -> None:
        """Keep the record durably; a record with the same id is replaced."""
        self._database.execute(self._record, _row(failed))

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""
        row = self._database.read(
            lambda connection: connection.execute(select(failed_jobs).where(_columns.id == id)).one_or_none()
        )
        return None if row is None else _failed_job(row)

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""
        rows = self._matching(query or FailedJobQuery(), *_columns)
        return [_failed_job(row) for row in rows]

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that exact moment, when given); return whether it existed."""
        statement = delete(failed_jobs).where(_columns.id == id)
        if failed_at is not None:
            statement = statement.where(_columns.failed_at == failed_at)
        return self._delete(statement) > 0

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; return how many. A job that fails again meanwhile keeps its new record."""
        query = query or FailedJobQuery()
        if query.tag is None and query.limit is None:
            return self._delete(delete(failed_jobs).where(*_conditions(query)))
        rows = self._matching(query, _columns.id, _columns.failed_at, _columns.tags)
        seen = [(row.id, row.failed_at) for row in rows]
        return sum(
            self._delete(
                delete(failed_jobs).where(
                    tuple_(_columns.id, _columns.failed_at).in_(seen[start : start + _PAGE]),
                )
            )
            for start in range(0, len(seen), _PAGE)
        )

    def count(self, query: FailedJobQuery | None = None) -> int:
        """The number of records that match."""
        query = query or FailedJobQuery()
        if query.tag is None and query.limit is None:
            statement = select(func.count()).select_from(failed_jobs).where(*_conditions(query))
            return self._database.read(lambda connection: connection.scalars(statement).one())
        return len(self._matching(query, _columns.id, _columns.tags))

    def _matching(self, query: FailedJobQuery, *columns: ColumnElement[Any]) -> list[Row[Any]]:
        """The columns, which include `tags`, of the records that match; newest first."""
        statement = select(*columns).where(*_conditions(query))
        statement = statement.order_by(_columns.failed_at.desc(), _columns.id.desc())
        if query.tag is None:
            statement = statement.limit(query.limit)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        if query.tag is None:
            return list(rows)
        return list(islice((row for row in rows if query.tag in json.loads(row.tags)), query.limit))

    def _delete(self, statement: Delete) -> int:
        return self._database.write(lambda connection: connection.execute(statement).rowcount)


def _conditions(query: FailedJobQuery) -> list[ColumnElement[bool]]:
    """The SQL conditions of the query; for a tag they match too much, such as `a"b` for `b`."""
    wanted = {
        _columns.queue: query.queue,
        _columns.connection: query.connection,
        _columns.job: query.job,
        _columns.batch_id: query.batch_id,
    }
    conditions = [column == value for column, value in wanted.items() if value is not None]
    if query.before is not None:
        conditions.append(_columns.failed_at <= query.before)
    if query.tag is not None:
        conditions.append(_columns.tags.contains(json.dumps(query.tag), autoescape=True))
    return conditions


def _row(failed: FailedJob) -> dict[str, Any]:
    return {
        "id": failed.id,
        "connection": failed.connection,
        "queue": failed.queue,
        "job": failed.job,
        "payload": json.dumps(dict(failed.payload)),
        "exception": storable(failed.exception),
        "failed_at": failed.failed_at,
        "attempts": failed.attempts,
        "tags": json.dumps(failed.tags),
        "batch_id": failed.batch_id,
    }


def _failed_job(row: Row[Any]) -> FailedJob:
    data = dict(row._mapping)
    return FailedJob(**{**data, "payload": json.loads(row.payload), "tags": tuple(json.loads(row.tags))})
