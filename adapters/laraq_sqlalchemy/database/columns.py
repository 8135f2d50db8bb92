"""Column types that behave alike on SQLite, PostgreSQL and MariaDB or MySQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_MYSQL = ("mysql", "mariadb")

#: A short text that can be a key. Only MySQL limits it: 255 characters, as AMQP does for names and ids.
NAME = String().with_variant(mysql.VARCHAR(255), *_MYSQL)

#: Text of any length; MySQL's own TEXT ends at 64 kB.
LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, read as UTC, to the microsecond; the two databases without zones store UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """The column type; MySQL drops the microseconds by default."""
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, and remove the zone if columns have none."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; PostgreSQL returns the zone of the session."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


#: Table options: text compares byte by byte, as in Python, and holds all of Unicode.
EXACT_TEXT: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in _MYSQL
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
