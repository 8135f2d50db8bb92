"""The clock of the database server, in SQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, literal_column

_MYSQL = (
    # SYSDATE is read when it is reached, the others when the statement begins, which may be before it waited for a
    # lock. It knows only the session's zone, whose distance from UTC is taken off again.
    "((TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))"
    " - TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), NOW(6))) DIV 1000)"
)

#: Milliseconds since the epoch, by dialect, at the moment the expression is reached.
NOW = {
    "postgresql": "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)",
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    # Also to the millisecond; SQLite has `unixepoch('subsec')` only since 3.42.
    "sqlite": "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
}

#: The time at the beginning of the statement or transaction: only a constant can end a range of an index.
STABLE_NOW = {
    "postgresql": "(extract(epoch from now())*1000)::bigint",
    "mysql": "CAST(UNIX_TIMESTAMP(NOW(3))*1000 AS SIGNED)",
}


def now(dialect: str) -> ColumnElement[int]:
    """Milliseconds since the epoch on the server; on SQLite, of this machine."""
    return literal_column(NOW[dialect], BigInteger)
