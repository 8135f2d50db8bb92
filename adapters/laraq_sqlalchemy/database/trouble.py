"""Trouble: whether an error of a database allows a retry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

#: Errors that drivers raise themselves for a value they cannot send: a number beyond 64 bits, half a surrogate pair.
UNSENDABLE = (ValueError, TypeError, OverflowError)


class Trouble(Enum):
    """Any error not known to be one of the others is an outage: it waits, and no job is given up by mistake."""

    #: A deadlock, or a connection that was already dead: an immediate retry may help.
    PASSING = auto()
    #: A table or column is missing.
    SCHEMA = auto()
    #: The database is up, and will never accept this value.
    REFUSED = auto()
    #: Down, full, read-only, starting, stopping, overloaded, locked: a later retry may help.
    OUTAGE = auto()

    @classmethod
    def of(cls, error: SQLAlchemyError) -> Trouble:
        """The kind of an error of SQLAlchemy, or of a driver error wrapped by it."""
        if not isinstance(error, DBAPIError):
            return cls.REFUSED if isinstance(getattr(error, "orig", None), UNSENDABLE) else cls.OUTAGE
        codes = _codes(error.orig)
        if error.connection_invalidated or codes & _DEADLOCKS:
            return cls.PASSING
        if codes & _MISSING or _SQLITE_MISSING.search(str(error.orig)):
            return cls.SCHEMA
        return cls.REFUSED if _is_of_the_data(error, codes) else cls.OUTAGE


def lost_race(error: IntegrityError) -> bool:
    """Whether the error is a conflict with another row or a rule of the table, not a missing or invalid value."""
    return not _codes(error.orig) & _NEVER_NULL


def exceeds_packet(error: SQLAlchemyError, engine: Engine) -> bool:
    """Whether MySQL closed the connection because a statement was too large, which looks like any broken connection.

    Queries the server over another connection; if that does not answer, it is an outage.
    """
    if engine.dialect.name not in ("mysql", "mariadb") or not isinstance(error, StatementError):
        return False
    size = sum(map(_size, _flat(error.params)))
    if size < _SMALLEST_PACKET:
        return False
    try:
        with engine.connect() as connection:
            return size >= int(connection.scalar(text("SELECT @@max_allowed_packet")) or 0)
    except SQLAlchemyError:
        return False


#: Bytes that MySQL accepts in any reasonable configuration.
_SMALLEST_PACKET = 16_384


def _flat(parameters: Any) -> Iterator[Any]:
    match parameters:
        case dict():
            yield from parameters.values()
        case list() | tuple():
            for one in parameters:
                yield from _flat(one)
        case _:
            yield parameters


def _size(value: Any) -> int:
    """Bytes of a value in a statement; drivers escape some characters with a backslash."""
    if isinstance(value, str):
        return len(value.encode(errors="replace")) + sum(map(value.count, "\\'\"\n\r\0\x1a"))
    return len(value) if isinstance(value, bytes) else 8


#: SQLSTATEs of PostgreSQL, error numbers of MySQL. 1020 is MariaDB's name for a write conflict.
_DEADLOCKS = frozenset({"40001", "40P01", 1213, 1020})
_MISSING = frozenset({"42P01", "42703", 1146, 1054})

#: A required column has no value.
_NEVER_NULL = frozenset({"23502", 1048, 1364, "SQLITE_CONSTRAINT_NOTNULL"})

#: About the data, of which drivers report some as errors of another kind. Of PostgreSQL, beside the class 22 ("data
#: exception"): no such comparison, wrong type, no conversion, unknown type, beyond a limit of the program. Of MySQL:
#: not in the character set, two character sets, a row or packet too large, out of range, truncated, wrong value, too
#: long, larger than a packet, beyond BIGINT, not convertible.
_OF_THE_DATA = _NEVER_NULL | {
    *("42883", "42804", "42846", "42P18", "54000"),
    *(1300, 1267, 1118, 1153, 1264, 1265, 1292, 1366, 1406, 1301, 1690, 1441, 3854, 3988),
    *("SQLITE_TOOBIG", "SQLITE_MISMATCH"),
}

#: SQLite has one code for all of them.
_SQLITE_MISSING = re.compile(r"^no such (table|column)|^table \S+ has no column named")

#: A driver cannot send a value.
_UNADAPTABLE = re.compile(r"cannot adapt|can't adapt|[Ee]rror binding parameter|cannot dump")


def _is_of_the_data(error: DBAPIError, codes: set[object]) -> bool:
    return isinstance(error, DataError) or bool(codes & _OF_THE_DATA or _UNADAPTABLE.search(str(error.orig)))


def _codes(original: BaseException | None) -> set[object]:
    """The driver's codes of the error: SQLSTATEs of PostgreSQL, numbers of MySQL, names of SQLite."""
    named = ("sqlstate", "pgcode", "sqlite_errorname")
    return {*(getattr(original, name, None) for name in named), *(getattr(original, "args", ())[:1])}
