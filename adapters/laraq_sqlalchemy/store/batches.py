"""SqlBatches: batches and their members in tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, bindparam, delete, func, insert, select, update

from laraq.errors import StoreError
from laraq.messages.tally import CLOSED, FIRST_LOAD, BatchRecord, MemberState, Settled, Tally
from laraq_sqlalchemy.database.upsert import insert_new
from laraq_sqlalchemy.schema.tables import batch_jobs, batch_loads, batches
from laraq_sqlalchemy.store.batch_records import SqlBatchRecords
from laraq_sqlalchemy.store.batch_rows import STATES, TALLY, Phase, changed, changes, events, is_there, new_row, tally
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import ONE_TRIP, Direct, statement

_columns, _members, _loads = batches.c, batch_jobs.c, batch_loads.c

#: Races over one job that may be lost in a row: nobody loses two of them as a rule.
_RACES = 100

# Statements are made once: that takes SQLAlchemy longer than to run one on SQLite.
_ID = bindparam("of_batch", type_=_columns.id.type)
_COUNT = update(batches).where(_columns.id == _ID)
_STATES = select(_members.job, _members.state).where(
    _members.batch_id == _ID, _members.job.in_(bindparam("of_jobs", expanding=True))
)
_TELL = update(batch_jobs).where(_members.batch_id == _ID, _members.job.in_(bindparam("of_jobs", expanding=True)))
_JOIN = insert(batch_jobs)


class SqlBatches(SqlBatchRecords):
    """Batches in the tables `laraq_job_batches`, `laraq_batch_jobs` and `laraq_batch_loads`.

    To settle a job is one short transaction and one round trip; a few on MySQL, whose SQL has no word for it, and none
    on SQLite. Every change locks the row of its batch before anything else, so that no two of one batch deadlock.
    """

    #: The row of the batch is locked, and many workers may want it.
    settles_at_once = False

    def __init__(self, database: Database, direct: Direct) -> None:
        super().__init__(database, direct)
        self._join_new = insert_new(database.dialect, batch_jobs)
        self._locked: Select[Any] = (
            select(*TALLY, _columns.places, self._now.label("now")).where(*is_there(_ID)).with_for_update()
        )

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch whose members so far are these, its FIRST_LOAD under way; an id that is known stays."""
        members = _rows(batch.id, FIRST_LOAD, jobs, 0)
        new = insert_new(self._database.dialect, batches).values(created_at=self._now, **new_row(batch, len(members)))

        def work(connection: Connection) -> None:
            if connection.execute(new).rowcount:
                self._begin_load(connection, batch.id, FIRST_LOAD, 0, seconds)
                if members:
                    connection.execute(_JOIN, members)

        self._database.write(work)

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`."""

        def work(connection: Connection) -> Tally | None:
            batch = self._lock(connection, id)
            if batch is None:
                return None
            # Looked for before it is locked: MySQL would lock the gap where it is not, and everybody's next load.
            under_way = _first_place(connection, id, load) is not None
            if under_way:
                longer = update(batch_loads).where(_loads.batch_id == id, _loads.name == load)
                connection.execute(longer.values(ends_at=self._now + ceil(seconds * 1000)))
            elif batch.cancelled_at is None:
                self._begin_load(connection, id, load, batch.places, seconds)
            else:
                return None
            members = _rows(id, load, jobs, batch.places)
            new = connection.execute(self._join_new, members).rowcount if members else 0
            return _count(connection, batch, places=len(members), total=new, loads=0 if under_way else 1)

        return self._database.write(work)

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """The load is over; without `keep` those of its jobs that are still pending are members no more."""

        def work(connection: Connection) -> Tally | None:
            batch = self._lock(connection, id)
            if batch is None:
                return None
            first = _first_place(connection, id, load)
            if first is None:
                return tally(batch)
            connection.execute(delete(batch_loads).where(_loads.batch_id == id, _loads.name == load))
            fewer = 0
            if not keep:
                pending = _members.batch_id == id, _members.state == STATES.index(MemberState.PENDING)
                loaded = _members.load_name == load, _members.place >= first
                fewer = connection.execute(delete(batch_jobs).where(*pending, *loaded)).rowcount
            return _count(connection, batch, total=-fewer, loads=-1)

        return self._database.write(work)

    def settle(self, id: str, job: str, outcome: MemberState, dropped: Sequence[str] = ()) -> Settled | None:
        """Note how a job ended (`MemberState.after`), and that pending `dropped` will never run."""
        never = [each for each in dict.fromkeys(dropped) if each != job]
        if (flavour := self._direct.flavour) in ONE_TRIP:
            return self._settle_in_one(flavour, id, job, outcome, never)
        return self._database.write(partial(self._settle_in_steps, id=id, job=job, outcome=outcome, never=never))

    def succeed(self, id: str, jobs: Sequence[str]) -> Settled | None:
        """`settle` of jobs that all succeeded, in one transaction."""
        each = [*dict.fromkeys(jobs)]
        if self._database.dialect == "postgresql":
            return self._succeed_in_one(id, each)
        return self._database.write(partial(self._succeed_in_steps, id=id, jobs=each))

    def fail(self, id: str, jobs: Sequence[str], dropped: Sequence[str] = ()) -> Settled | None:
        """`settle` of jobs that all failed, in one transaction."""
        each, never = dict.fromkeys(jobs), dict.fromkeys(dropped)
        never = {job: None for job in never if job not in each}
        return self._database.write(partial(self._fail, id=id, jobs=[*each], never=[*never]))

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at`, if it was not set."""
        mine = update(batches).where(*is_there(id), _columns.cancelled_at.is_(None))
        self._direct.run(mine.values(cancelled_at=self._now, phase=Phase.OPEN), {}, lambda result: None)
        found = self._direct.run(select(*TALLY).where(*is_there(id)), {}, lambda result: result.one_or_none())
        return None if found is None else tally(found)

    def mark(self, id: str, event: str) -> bool:
        """Add to `sent`; say whether it was not there."""
        return self._direct.run(self._marking(id, event), {}, lambda result: result.rowcount > 0)

    def _lock(self, connection: Connection, id: str) -> Row[Any] | None:
        """The batch, which nobody else changes from here to the end of the transaction."""
        return connection.execute(self._locked, {"of_batch": id}).one_or_none()

    def _begin_load(self, connection: Connection, id: str, load: str, place: int, seconds: float) -> None:
        ends_at = self._now + ceil(seconds * 1000)
        connection.execute(insert(batch_loads).values(batch_id=id, name=load, first_place=place, ends_at=ends_at))

    def _settle_in_one(self, flavour: str, id: str, job: str, outcome: MemberState, never: list[str]) -> Settled | None:
        settle = statement("settle", flavour, tally=", ".join(column.name for column in TALLY))
        parameters = {"id": id, "job": job, "outcome": STATES.index(outcome), "dropped": json.dumps(never)}
        for _ in range(_RACES):
            answer = self._direct.run(settle, parameters, lambda result: result.one_or_none())
            if answer is None:
                return None
            if answer.changed is not None:
                return Settled(tally(answer), bool(answer.changed))
        raise StoreError(f"{_RACES} times in a row another process settled job {job} at the same moment. Try again.")

    def _settle_in_steps(
        self, connection: Connection, id: str, job: str, outcome: MemberState, never: list[str]
    ) -> Settled | None:
        batch = self._lock(connection, id)
        if batch is None:
            return None
        states = self._states(connection, id, [job, *never])
        was = states.pop(job, None)
        becomes = outcome if was is None else was.after(outcome)
        gone = [each for each, state in states.items() if state is MemberState.PENDING]
        if becomes is was and not gone:
            return Settled(tally(batch), changed=False)
        if was is None:
            connection.execute(_JOIN, _rows(id, "", [job], batch.places, becomes))
        elif becomes is not was:
            connection.execute(_TELL, _told(id, [job], becomes))
        if gone:
            connection.execute(_TELL, _told(id, gone, MemberState.DROPPED))
        moves = Counter([becomes, *[MemberState.DROPPED] * len(gone)])
        moves.subtract([] if was is None else [was])
        after = _count(
            connection,
            batch,
            cancel=becomes is MemberState.FAILED and becomes is not was and not batch.allow_failures,
            places=1 if was is None else 0,
            total=1 if was is None else 0,
            done=moves[MemberState.DONE],
            failed=moves[MemberState.FAILED],
            dropped=moves[MemberState.DROPPED],
        )
        return Settled(after, becomes is not was)

    def _succeed_in_one(self, id: str, jobs: list[str]) -> Settled | None:
        succeed = statement("succeed", "postgresql", tally=", ".join(column.name for column in TALLY))
        parameters, changed = {"id": id, "jobs": json.dumps(jobs)}, False
        for _ in range(_RACES):
            answer = self._direct.run(succeed, parameters, lambda result: result.one_or_none())
            if answer is None:
                return None
            changed = changed or answer.changed
            if answer.known == len(jobs):
                return Settled(tally(answer), changed)
        raise StoreError(f"{_RACES} times in a row other processes settled the same jobs of batch {id}. Try again.")

    def _succeed_in_steps(self, connection: Connection, id: str, jobs: list[str]) -> Settled | None:
        batch = self._lock(connection, id)
        if batch is None:
            return None
        states = self._states(connection, id, jobs)
        strangers = [job for job in jobs if job not in states]
        news = [job for job, state in states.items() if state is not MemberState.DONE]
        if not strangers and not news:
            return Settled(tally(batch), changed=False)
        if strangers:
            connection.execute(_JOIN, _rows(id, "", strangers, batch.places, MemberState.DONE))
        if news:
            connection.execute(_TELL, _told(id, news, MemberState.DONE))
        before = Counter(states[job] for job in news)
        after = _count(
            connection,
            batch,
            places=len(strangers),
            total=len(strangers),
            done=len(strangers) + len(news),
            failed=-before[MemberState.FAILED],
            dropped=-before[MemberState.DROPPED],
        )
        return Settled(after, changed=True)

    def _fail(self, connection: Connection, id: str, jobs: list[str], never: list[str]) -> Settled | None:
        batch = self._lock(connection, id)
        if batch is None:
            return None
        states = self._states(connection, id, [*jobs, *never])
        strangers = [job for job in jobs if job not in states]
        failed = [job for job in jobs if states.get(job) in (MemberState.PENDING, MemberState.DROPPED)]
        gone = [job for job in never if states.get(job) is MemberState.PENDING]
        if not strangers and not failed and not gone:
            return Settled(tally(batch), changed=False)
        if strangers:
            connection.execute(_JOIN, _rows(id, "", strangers, batch.places, MemberState.FAILED))
        for these, state in ((failed, MemberState.FAILED), (gone, MemberState.DROPPED)):
            if these:
                connection.execute(_TELL, _told(id, these, state))
        news = len(strangers) + len(failed)
        after = _count(
            connection,
            batch,
            cancel=bool(news) and not batch.allow_failures,
            places=len(strangers),
            total=len(strangers),
            failed=news,
            dropped=len(gone) - sum(states[job] is MemberState.DROPPED for job in failed),
        )
        return Settled(after, changed=bool(news))

    def _states(self, connection: Connection, id: str, jobs: list[str]) -> dict[str, MemberState]:
        """Of those that are members."""
        found = connection.execute(_STATES, {"of_batch": id, "of_jobs": jobs})
        return {name: STATES[state] for name, state in found}

    def _marking(self, id: str, event: str) -> Update:
        if event == CLOSED:
            return update(batches).where(_columns.id == id, _columns.phase == Phase.OPEN).values(phase=Phase.CLOSED)
        text = events([event])
        place = func.strpos if self._database.dialect == "postgresql" else func.instr
        unsent = place(_columns.sent, text) == 0
        return update(batches).where(*is_there(id), unsent).values(sent=_columns.sent.concat(text))


def _first_place(connection: Connection, id: str, load: str) -> int | None:
    """Where the members of a load begin; None when it is not under way."""
    return connection.scalar(select(_loads.first_place).where(_loads.batch_id == id, _loads.name == load))


def _count(connection: Connection, batch: Row[Any], *, places: int = 0, cancel: bool = False, **more: int) -> Tally:
    """Write what a locked batch counts after a change."""
    after = changed(tally(batch), batch.now, cancel=cancel, **more)
    connection.execute(_COUNT, {"of_batch": batch.id, "places": batch.places + places, **changes(after)})
    return after


def _rows(
    id: str, load: str, jobs: Sequence[str], place: int, state: MemberState = MemberState.PENDING
) -> list[dict[str, Any]]:
    """New members, each once."""
    member = {"batch_id": id, "state": STATES.index(state), "load_name": load}
    return [{**member, "job": job, "place": place + number} for number, job in enumerate(dict.fromkeys(jobs))]


def _told(id: str, jobs: list[str], state: MemberState) -> dict[str, Any]:
    return {"of_batch": id, "of_jobs": jobs, "state": STATES.index(state)}
