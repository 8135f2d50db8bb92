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

#: Races for a slot that may be lost in a row before the key counts as held: more than ever observed, but bounded.
_RACES = 100


class SqlLocks:
    """Locks in the table `laraq_locks`: a row for each slot that is held.

    One round trip each, except for `acquire` on MySQL, whose SQL cannot express it, and on SQLite, which has none.
    Rows, not advisory locks: those end with a connection, whose owner is unknown behind a pooler. No fencing: an owner
    whose lease is over is not stopped.
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
        """End the lease of `owner` on the key, and no other owner's; return whether it still held the key."""
        ours = delete(locks).where(*self._held_by(key, owner))
        return self._direct.run(ours, {}, lambda result: result.rowcount > 0)

    def refresh(self, key: str, owner: str, seconds: float) -> bool:
        """Extend the lease of `owner` to `seconds` from now if it still holds the key, not if it has expired."""
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
            # The commit need not wait for the disk: if a crash of the server undoes it, the lease ends at its old time.
            conditions.append(func.set_config("synchronous_commit", "off", True) == "off")
        return conditions

    def _acquire_in_one(self, name: str, owner: str, length: int, slots: int) -> bool:
        acquire = statement("acquire", self._direct.flavour)
        parameters = {"name": name, "owner": owner, "length": length, "slots": slots}
        for _ in range(_RACES):
            answer = self._direct.run(acquire, parameters, lambda result: result.one())
            # Chosen but not held: another process won the race for that slot. If it is the only slot, the key is held.
            if answer.held or not answer.chosen or slots == 1:
                return bool(answer.held)
        return False

    def _acquire_in_steps(self, name: str, owner: str, length: int, slots: int) -> bool:
        def choose(connection: Connection) -> tuple[int | None, bool]:
            """A free slot or None, and whether it has a row."""
            columns = _columns.slot, _columns.owner, _columns.expires_at > self._now
            rows = connection.execute(select(*columns).where(_columns.name == name)).all()
            live = {slot: holder for slot, holder, alive in rows if alive}
            mine = [slot for slot, holder in live.items() if holder == owner]
            free = [slot for slot in range(slots) if slot not in live] if len(live) < slots else []
            slot = next(iter(mine + free), None)
            return slot, slot in [row[0] for row in rows]

        def hold(connection: Connection) -> bool | None:
            """Acquire the slot; None if another process took it in between."""
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

        # A refusal only reads, and need not queue behind the writers.
        if self._database.read(choose)[0] is None:
            return False
        for _ in range(_RACES):
            if (held := self._database.write(hold)) is not None:
                return held
        return False
