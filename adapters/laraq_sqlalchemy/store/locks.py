"""SqlLocks: leases in a table."""

from __future__ import annotations

from math import ceil

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.names import stored_name
from laraq_sqlalchemy.schema.tables import locks
from laraq_sqlalchemy.store.database import Database
from laraq_sqlalchemy.store.direct import ONE_TRIP, Direct, statement
from laraq_sqlalchemy.store.expired import Expired

_columns = locks.c

#: Races for a slot in a row that may be lost before the key counts as held: more than ever were, but no endless loop.
_RACES = 100


class SqlLocks:
    """Locks in the table `laraq_locks`: a row for each slot that is held.

    One round trip each, but for `acquire` on MySQL, whose SQL has no word for it, and on SQLite, which has no trips.
    Rows, not advisory locks: those end with a connection, and behind a pooler nobody knows whose that is.
    Not fencing: a holder whose lease is over is not stopped.
    """

    def __init__(self, database: Database, direct: Direct) -> None:
        self._database = database
        self._direct = direct
        self._expired = Expired(database, locks, _columns.expires_at)
        self._now = now(database.dialect)

    def acquire(self, key: str, owner: str, seconds: float, slots: int = 1) -> bool:
        """Acquire or extend the lease of `owner` to `seconds` from now; False when `slots` others hold the key."""
        self._expired.sweep()
        acquire = self._acquire_in_one if self._direct.flavour in ONE_TRIP else self._acquire_in_steps
        return acquire(stored_name(key), owner, ceil(seconds * 1000), slots)

    def release(self, key: str, owner: str) -> bool:
        """Free the key if `owner` still holds it, and no other owner's lease; return whether it did."""
        ours = delete(locks).where(*self._held_by(key, owner))
        return self._direct.run(ours, {}, lambda result: result.rowcount > 0)

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Let `owner` hold the key until `seconds` from now if it still does; a lease that is over stays over."""
        ours = update(locks).where(*self._held_by(key, owner))
        longer = ours.values(expires_at=self._now + ceil(seconds * 1000))
        return self._direct.run(longer, {}, lambda result: result.rowcount > 0)

    def owner(self, key: str) -> str | None:
        """The owner of the key now; of several owners the one whose lease ends last."""
        last = select(_columns.owner).where(*self._held(key)).order_by(_columns.expires_at.desc()).limit(1)
        return self._direct.run(last, {}, lambda result: result.scalar())

    def force_release(self, key: str) -> bool:
        """End every lease on the key; return whether there was one."""
        return self._direct.run(delete(locks).where(*self._held(key)), {}, lambda result: result.rowcount > 0)

    def _held(self, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return _columns.name == stored_name(key), _columns.expires_at > self._now

    def _held_by(self, key: str, owner: str) -> list[ColumnElement[bool]]:
        """The lease of one owner, to release or refresh it."""
        conditions = [*self._held(key), _columns.owner == owner]
        if self._database.dialect == "postgresql":
            # Need not wait for the disk: if a crash of the server undoes it, the lease ends at its old time.
            conditions.append(func.set_config("synchronous_commit", "off", True) == "off")
        return conditions

    def _acquire_in_one(self, name: str, owner: str, length: int, slots: int) -> bool:
        acquire = statement("acquire", self._direct.flavour)
        parameters = {"name": name, "owner": owner, "length": length, "slots": slots}
        for _ in range(_RACES):
            answer = self._direct.run(acquire, parameters, lambda result: result.one())
            # Chosen but not held: another won the race for that slot. For the only one, that is an answer.
            if answer.held or not answer.chosen or slots == 1:
                return bool(answer.held)
        return False

    def _acquire_in_steps(self, name: str, owner: str, length: int, slots: int) -> bool:
        def choose(connection: Connection) -> tuple[int | None, bool]:
            """A slot, None when there is none, and whether it has a row."""
            columns = _columns.slot, _columns.owner, _columns.expires_at > self._now
            rows = connection.execute(select(*columns).where(_columns.name == name)).all()
            live = {slot: holder for slot, holder, alive in rows if alive}
            mine = [slot for slot, holder in live.items() if holder == owner]
            free = [slot for slot in range(slots) if slot not in live] if len(live) < slots else []
            slot = next(iter(mine + free), None)
            return slot, slot in [row[0] for row in rows]

        def hold(connection: Connection) -> bool | None:
            """None when another process took the slot in between."""
            slot, known = choose(connection)
            if slot is None:
                return False
            values = {"owner": owner, "expires_at": self._now + length}
            if known:
                over = (_columns.expires_at <= self._now) | (_columns.owner == owner)
                row = update(locks).where(_columns.name == name, _columns.slot == slot, over)
                return connection.execute(row.values(values)).rowcount > 0 or None
            try:
                connection.execute(insert(locks).values(name=name, slot=slot, **values))
            except IntegrityError:
                return None
            return True

        # A refusal only reads, and need not queue up behind the writers.
        if self._database.read(choose)[0] is None:
            return False
        for _ in range(_RACES):
            if (held := self._database.write(hold)) is not None:
                return held
        return False
