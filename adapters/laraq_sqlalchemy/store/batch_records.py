"""SqlBatchRecords: the batches that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil

from sqlalchemy import Connection, delete, select, update

from laraq.messages.tally import BatchQuery, BatchRecord, MemberState
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.schema.tables import batch_jobs, batch_loads, batches
from laraq_sqlalchemy.store.batch_rows import STATES, Phase, is_there, matching, record
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import Direct

_columns, _members, _loads = batches.c, batch_jobs.c, batch_loads.c

#: How many batches, or members of them, are deleted in one transaction.
_PAGE = 1000


class SqlBatchRecords:
    """The half of SqlBatches that reads many batches."""

    def __init__(self, database: Database, direct: Direct) -> None:
        self._database = database
        self._direct = direct
        self._now = now(database.dialect)

    def find(self, id: str) -> BatchRecord | None:
        """The batch, or None."""
        found = self._direct.run(select(batches).where(*is_there(id)), {}, lambda result: result.one_or_none())
        return None if found is None else record(found)

    def all(self, query: BatchQuery | None = None) -> Sequence[BatchRecord]:
        """The batches that match, newest first."""
        query = query or BatchQuery()
        wanted = select(batches).where(*matching(query)).order_by(_columns.created_at.desc(), _columns.id.desc())
        rows = self._database.read(lambda connection: connection.execute(wanted.limit(query.limit)).all())
        return [record(row) for row in rows]

    def jobs(self, id: str, state: MemberState) -> Sequence[str]:
        """The ids of its jobs in that state, in the order they were added."""
        there = select(_columns.id).where(*is_there(id)).exists()
        of_it = _members.batch_id == id, _members.state == STATES.index(state)
        wanted = select(_members.job).where(*of_it, there).order_by(_members.place)
        return self._database.read(lambda connection: connection.scalars(wanted).all())

    def state(self, id: str, job: str) -> MemberState | None:
        """The state of one of its jobs; None when it has no such job."""
        there = select(_columns.id).where(*is_there(id)).exists()
        wanted = select(_members.state).where(_members.batch_id == id, _members.job == job, there)
        found = self._direct.run(wanted, {}, lambda result: result.scalar_one_or_none())
        return None if found is None else STATES[found]

    def delete(self, query: BatchQuery) -> int:
        """Delete every batch that matches, with its members, a thousand at a time; return how many.

        If the process is killed in between, the batches are already hidden, and the next call deletes their members.
        """
        deleted, left = 0, query.limit
        while ids := self._ids(replace(query, limit=_PAGE if left is None else min(left, _PAGE))):
            deleted += self._database.write(partial(_hide, ids=ids, query=query))
            left = None if left is None else left - len(ids)
        while hidden := self._hidden():
            for ids in _together(hidden):
                while self._database.write(partial(_clear, ids=ids)):
                    pass
        return deleted

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished at least that long ago and are not marked CLOSED; the first to finish first."""
        long_ago = _columns.finished_at <= self._now - ceil(seconds * 1000)
        wanted = select(_columns.id).where(_columns.phase == Phase.OPEN, long_ago)
        wanted = wanted.order_by(_columns.finished_at).limit(limit)
        return self._database.read(lambda connection: connection.scalars(wanted).all())

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch ids and names of loads that were neither continued nor ended in time; the first to lapse first."""
        wanted = select(_loads.batch_id, _loads.name).where(_loads.ends_at <= self._now)
        wanted = wanted.order_by(_loads.ends_at).limit(limit)
        rows = self._database.read(lambda connection: connection.execute(wanted).all())
        return [(row.batch_id, row.name) for row in rows]

    def _ids(self, query: BatchQuery) -> Sequence[str]:
        newest = select(_columns.id).where(*matching(query)).order_by(_columns.created_at.desc(), _columns.id.desc())
        return self._database.read(lambda connection: connection.scalars(newest.limit(query.limit)).all())

    def _hidden(self) -> list[tuple[str, int]]:
        """Some of the deleted batches, with the number of their members."""
        some = select(_columns.id, _columns.total).where(_columns.phase == Phase.DELETED).limit(_PAGE)
        rows = self._database.read(lambda connection: connection.execute(some).all())
        return [(row.id, row.total) for row in rows]


def _hide(connection: Connection, ids: Sequence[str], query: BatchQuery) -> int:
    """Hide the batches that still match; return how many."""
    count = connection.execute(
        update(batches).where(_columns.id.in_(ids), *matching(query)).values(phase=Phase.DELETED)
    ).rowcount
    hidden = connection.scalars(select(_columns.id).where(_columns.id.in_(ids), _columns.phase == Phase.DELETED)).all()
    # Read before they are deleted: MySQL would lock gaps where there are none, and block the next loads of all.
    loading = connection.scalars(select(_loads.batch_id).where(_loads.batch_id.in_(hidden))).all()
    if loading:
        connection.execute(delete(batch_loads).where(_loads.batch_id.in_(loading)))
    return count


def _together(hidden: list[tuple[str, int]]) -> list[list[str]]:
    """The batches in groups of at most a page of members; larger batches separately."""
    groups: list[list[str]] = []
    size = 0
    for id, total in hidden:
        if not groups or size + total > _PAGE:
            groups.append([])
            size = 0
        groups[-1].append(id)
        size += total
    return groups


def _clear(connection: Connection, ids: list[str]) -> bool:
    """Delete batches that are still hidden, or a page of members of a large one; return whether any are left."""
    hidden = select(_columns.id).where(_columns.id.in_(ids), _columns.phase == Phase.DELETED).with_for_update()
    ids = list(connection.scalars(hidden))
    if len(ids) == 1:
        jobs = connection.scalars(select(_members.job).where(_members.batch_id == ids[0]).limit(_PAGE)).all()
        connection.execute(delete(batch_jobs).where(_members.batch_id == ids[0], _members.job.in_(jobs)))
        if len(jobs) == _PAGE:
            return True
    for table, column in ((batch_jobs, _members.batch_id), (batches, _columns.id)):
        connection.execute(delete(table).where(column.in_(ids)))
    return False
