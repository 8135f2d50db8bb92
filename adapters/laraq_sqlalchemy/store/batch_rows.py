"""Rows of the table `laraq_job_batches`, and their meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, overload

from sqlalchemy import BindParameter, Column, ColumnElement, Row

from laraq.messages.tally import CLOSED, BatchQuery, BatchRecord, MemberState, Tally
from laraq_sqlalchemy.schema.tables import batches

_columns = batches.c
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A member's state is stored as its place here; they also stand in `sql/settle_postgresql.sql`.
STATES = (MemberState.PENDING, MemberState.DONE, MemberState.FAILED, MemberState.DROPPED)


class Phase(IntEnum):
    """The remaining work for a batch."""

    OPEN = 0
    #: Marked CLOSED.
    CLOSED = 1
    #: Hidden, while its members are still being deleted.
    DELETED = 2


#: The columns of a Tally, without the options, which may be long.
TALLY: tuple[Column[Any], ...] = (
    *(_columns.id, _columns.total, _columns.done, _columns.failed, _columns.dropped, _columns.loads),
    *(_columns.allow_failures, _columns.wants, _columns.sent, _columns.phase),
    *(_columns.cancelled_at, _columns.finished_at),
)


def is_there(id: str | BindParameter[str]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The batch, unless it is deleted."""
    return _columns.id == id, _columns.phase < Phase.DELETED


def matching(query: BatchQuery) -> list[ColumnElement[bool]]:
    """The conditions of the query."""
    conditions = [_columns.phase < Phase.DELETED]
    if query.ids is not None:
        conditions.append(_columns.id.in_(query.ids))
    for column, wanted in ((_columns.finished_at, query.finished), (_columns.cancelled_at, query.cancelled)):
        if wanted is not None:
            conditions.append(column.is_not(None) if wanted else column.is_(None))
    for column, limit in ((_columns.created_at, query.created_before), (_columns.finished_at, query.finished_before)):
        if limit is not None:
            conditions.append(column <= _milliseconds(limit))
    return conditions


def new_row(batch: BatchRecord, members: int) -> dict[str, Any]:
    """The row of a new batch in its first load, without `created_at`."""
    return {
        "id": batch.id,
        "name": batch.name,
        **dict.fromkeys(("done", "failed", "dropped"), 0),
        "total": members,
        "places": members,
        "loads": 1,
        "allow_failures": batch.allow_failures,
        "wants": events(sorted(batch.wants)),
        "sent": events(sorted(batch.sent)),
        "options": json.dumps(dict(batch.options)),
        "phase": Phase.OPEN,
    }


def events(names: Iterable[str]) -> str:
    """Names of events as one text: a JSON list without brackets, so that SQL can extend and search it.

    Each begins with a comma, so no entry is a part of another.
    """
    return "".join(f",{json.dumps(name)}" for name in names)


def tally(row: Row[Any]) -> Tally:
    """The counts of a row that has the columns TALLY."""
    return Tally(**_counts(row))


def changes(after: Tally) -> dict[str, Any]:
    """The columns that a change may have modified."""
    return {
        **{name: getattr(after, name) for name in ("total", "done", "failed", "dropped", "loads")},
        "phase": Phase.OPEN,
        "cancelled_at": _milliseconds(after.cancelled_at),
        "finished_at": _milliseconds(after.finished_at),
    }


def record(row: Row[Any]) -> BatchRecord:
    """The record of a whole row."""
    options = json.loads(row.options)
    return BatchRecord(**_counts(row), name=row.name, options=options, created_at=moment(row.created_at))


def _counts(row: Row[Any]) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in ("id", "total", "done", "failed", "dropped", "loads")},
        "allow_failures": bool(row.allow_failures),
        "wants": frozenset(_names(row.wants)),
        "sent": frozenset(_names(row.sent)) | ({CLOSED} if row.phase == Phase.CLOSED else set()),
        "cancelled_at": moment(row.cancelled_at),
        "finished_at": moment(row.finished_at),
    }


def _names(events: str) -> list[str]:
    names: list[str] = json.loads(f"[{events[1:]}]")
    return names


@overload
def moment(milliseconds: int) -> datetime: ...
@overload
def moment(milliseconds: None) -> None: ...
def moment(milliseconds: int | None) -> datetime | None:
    """What a column of milliseconds says."""
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)
