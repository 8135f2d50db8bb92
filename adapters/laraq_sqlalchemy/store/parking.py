"""SqlParking: lines of parked jobs in two tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, select, update

from laraq.ports import CALL_AGAIN, HAND_OVER, LOOK, Demand, Line, ParkedJob, Turn, Usage, turn_at_limits, turn_at_lock
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.names import stored_name
from laraq_sqlalchemy.database.upsert import insert_new, upsert
from laraq_sqlalchemy.schema.tables import limits, locks, parked_jobs, parking_lines
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import Direct
from laraq_sqlalchemy.store.locks import SqlLocks

_line = parking_lines.c
_job = parked_jobs.c

#: Lines in one result.
_LINES = 100

#: Most jobs that are woken at once: a window with room for more is checked again right away.
_CALLS = 500


class SqlParking:
    """Parked jobs in the tables `laraq_parking_lines` and `laraq_parked_jobs`.

    The row of a line is its mutex: `park` and `call` hold it for one short transaction. Releasing a lock without
    waiting jobs needs two round trips, and a third to check again: a job may have been parked in between.
    """

    call_again = CALL_AGAIN
    look = LOOK

    def __init__(self, database: Database, direct: Direct, held: SqlLocks) -> None:
        self._database = database
        self._direct = direct
        self._locks = held
        self._now = now(database.dialect)
        self._new_line = insert_new(database.dialect, parking_lines)
        self._put = upsert(database.dialect, parked_jobs)

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job durably in its place, or at the end; then `call`."""
        self._database.write(partial(self._keep, job=job))
        # Not in the same transaction: a process that releases the lock meanwhile sees only committed jobs.
        return self.call(job.line)

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Wake the jobs that may run now, unless the line is not due yet."""
        return self._database.write(partial(self._call, line=line))

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease and its place in the line, and pass the lock to the first in line."""
        assert line.lock is not None
        if self._in_line(line):
            return self._database.write(partial(self._hand_over, line=line, owner=owner))
        held = self._locks.release(line.lock, owner)
        return held, self._database.write(partial(self._call, line=line, early=True)) if self._in_line(line) else []

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were woken, except those that were parked again since."""

        def forget(connection: Connection) -> None:
            self._time(connection)
            for job in jobs:
                ours = _job.line == _name(job.line), _job.owner == job.owner, _job.call_again_at > 0
                connection.execute(delete(parked_jobs).where(*ours))

        self._database.write(forget)

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """The lines that are due, and the seconds until the next one is."""
        left = (_line.due_at - self._now).label("left")
        first = select(_line.line, left).where(_line.home == stored_name(home)).order_by(_line.due_at).limit(_LINES)
        found = self._direct.run(first, {}, lambda result: result.all())
        lines = [Line.from_text(row.line) for row in found if row.left <= 0]
        return lines, next((row.left / 1000 for row in found if row.left > 0), None)

    def count(self, line: Line) -> int:
        """The number of jobs that wait to be woken."""
        waiting = select(func.count()).select_from(parked_jobs).where(*_waiting(line))
        return int(self._direct.run(waiting, {}, lambda result: result.scalar_one()))

    def waiting(self, home: str) -> Iterator[ParkedJob]:
        """The jobs that wait to be woken, line by line."""
        known = select(_line.name, _line.line).where(_line.home == stored_name(home)).order_by(_line.name)
        for row in self._direct.run(known, {}, lambda result: result.all()):
            line, after = Line.from_text(row.line), -1
            while page := self._page(line, after):
                yield from page
                after = page[-1].since

    def _page(self, line: Line, after: int) -> list[ParkedJob]:
        page = select(parked_jobs).where(*_waiting(line), _job.since > after).order_by(_job.since).limit(_CALLS)
        return [_parked(line, job) for job in self._direct.run(page, {}, lambda result: result.all())]

    def _in_line(self, line: Line) -> bool:
        first = select(_job.owner).where(*_waiting(line)).limit(1)
        return self._direct.run(first, {}, lambda result: result.first()) is not None

    # -- in a transaction ---------------------------------------------------------------------------------------

    def _keep(self, connection: Connection, job: ParkedJob) -> None:
        name = _name(job.line)
        row = {"name": name, "home": stored_name(job.line.home), "line": job.line.text, "due_at": 0, "last": 0}
        while (line := self._lock(connection, job.line)) is None:  # waking the last job drops the row
            connection.execute(self._new_line, row)
        known = connection.scalar(select(_job.since).where(_job.line == name, _job.owner == job.owner))
        last = max(line.last + 1, self._time(connection, durable=True))
        connection.execute(update(parking_lines).where(_line.name == name).values(last=last))
        values = {
            "line": name,
            "owner": job.owner,
            "since": known or job.since or last,
            "call_again_at": 0,
            "demands": json.dumps([[demand.maximum, demand.milliseconds, demand.cost] for demand in job.demands]),
            "message": job.message,
        }
        connection.execute(self._put, values)

    def _call(self, connection: Connection, line: Line, early: bool = False) -> Sequence[ParkedJob]:
        row = self._lock(connection, line)
        if row is None:
            return []
        moment = self._time(connection)
        if row.due_at > moment and not early:
            return []
        again = select(parked_jobs).where(_job.line == _name(line), _job.call_again_at.between(1, moment))
        overdue = [_parked(line, job) for job in connection.execute(again)]
        turn = self._turn(connection, line, moment)
        return self._called(connection, line, moment, Turn([*overdue, *turn.jobs], turn.look_in))

    def _turn(self, connection: Connection, line: Line, moment: int) -> Turn:
        if line.lock is not None:
            live = locks.c.name == stored_name(line.lock), locks.c.expires_at > moment
            ends_at = connection.scalar(select(func.min(locks.c.expires_at)).where(*live))
            lease = None if ends_at is None else (ends_at - moment) / 1000
            return turn_at_lock(_first(connection, line, 1 if lease is None else 0), lease, self.look)
        columns = limits.c.name, limits.c.used, limits.c.ends_at
        names = [stored_name(key) for key in line.limits]
        live = limits.c.name.in_(names), limits.c.ends_at > moment
        windows = {
            name: Usage(used, (ends_at - moment) / 1000)
            for name, used, ends_at in connection.execute(select(*columns).where(*live))
        }
        usages = [windows.get(name, Usage(0, 0.0)) for name in names]
        return turn_at_limits(_first(connection, line, _CALLS), usages, moment, self.look)

    def _hand_over(self, connection: Connection, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        self._lock(connection, line)
        moment = self._time(connection)
        connection.execute(delete(parked_jobs).where(_job.line == _name(line), _job.owner == owner))
        first = _first(connection, line, 1)
        lease = and_(locks.c.name == stored_name(line.lock or ""), locks.c.owner == owner, locks.c.expires_at > moment)
        if not first:
            return connection.execute(delete(locks).where(lease)).rowcount > 0, []
        until = moment + round(HAND_OVER * 1000)
        theirs = update(locks).where(lease).values(owner=first[0].owner, expires_at=until)
        if not connection.execute(theirs).rowcount:
            return False, []
        return True, self._called(connection, line, moment, Turn(first, self.look))

    def _called(self, connection: Connection, line: Line, moment: int, turn: Turn) -> Sequence[ParkedJob]:
        """Record that the jobs are woken, and when the line is due next; delete it with its last job."""
        again_at = moment + round(self.call_again * 1000)
        if turn.jobs:
            these = _job.line == _name(line), _job.owner.in_([job.owner for job in turn.jobs])
            connection.execute(update(parked_jobs).where(*these).values(call_again_at=again_at))
        first = connection.scalar(
            select(func.min(_job.call_again_at)).where(_job.line == _name(line), _job.call_again_at > 0)
        )
        ours = _line.name == _name(line)
        if first is None and not _first(connection, line, 1):
            connection.execute(delete(parking_lines).where(ours))
        else:
            look_at = moment + round(turn.look_in * 1000)
            due_at = min(look_at, first or look_at)
            connection.execute(update(parking_lines).where(ours).values(due_at=due_at))
        return turn.jobs

    def _lock(self, connection: Connection, line: Line) -> Row[Any] | None:
        """The row of the line, locked until the transaction ends."""
        return connection.execute(select(parking_lines).where(_line.name == _name(line)).with_for_update()).first()

    def _time(self, connection: Connection, durable: bool = False) -> int:
        """Milliseconds; on PostgreSQL the commit need not wait for the disk unless the transaction is `durable`.

        If a crash of the server undoes a call, the job is woken again.
        """
        columns: list[Any] = [self._now]
        if self._database.dialect == "postgresql" and not durable:
            columns.append(func.set_config("synchronous_commit", "off", True))
        moment: int = connection.execute(select(*columns)).one()[0]
        return moment


def _name(line: Line) -> str:
    return stored_name(line.text)


def _waiting(line: Line) -> tuple[Any, Any]:
    return _job.line == _name(line), _job.call_again_at == 0


def _first(connection: Connection, line: Line, number: int) -> list[ParkedJob]:
    """The first waiting jobs."""
    in_order = select(parked_jobs).where(*_waiting(line)).order_by(_job.since).limit(number)
    return [_parked(line, job) for job in connection.execute(in_order)] if number else []


def _parked(line: Line, job: Row[Any]) -> ParkedJob:
    demands = tuple(
        Demand(key, maximum, length / 1000, cost)
        for key, (maximum, length, cost) in zip(line.limits, json.loads(job.demands), strict=True)
    )
    return ParkedJob(line, job.owner, job.message, job.since, demands)
