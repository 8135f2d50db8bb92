"""The tables of locks, limits and the cache."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME

_metadata = MetaData()

Table(
    "laraq_locks",
    _metadata,
    Column("name", NAME, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("owner", NAME, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)
Table(
    "laraq_limits",
    _metadata,
    Column("name", NAME, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("maximum", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    CheckConstraint("used <= maximum", name="laraq_limits_within"),
    **EXACT_TEXT,
)
Table(
    "laraq_cache",
    _metadata,
    Column("name", NAME, primary_key=True),
    Column("value", LONG_TEXT, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create them."""
    for table in _metadata.sorted_tables:
        yield CreateTable(table)
        yield from map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
