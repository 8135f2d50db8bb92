"""The tables of parked jobs."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Column, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME

_metadata = MetaData()

Table(
    "laraq_parking_lines",
    _metadata,
    Column("name", NAME, primary_key=True),
    Column("home", NAME, nullable=False),
    Column("line", LONG_TEXT, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Index("ix_laraq_parking_lines_due", "home", "due_at"),
    **EXACT_TEXT,
)
Table(
    "laraq_parked_jobs",
    _metadata,
    Column("line", NAME, primary_key=True),
    Column("owner", NAME, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("call_again_at", BigInteger, nullable=False),
    Column("demands", LONG_TEXT, nullable=False),
    Column("message", LONG_TEXT, nullable=False),
    Index("ix_laraq_parked_jobs_order", "line", "call_again_at", "since"),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create both."""
    for table in _metadata.sorted_tables:
        yield CreateTable(table)
        yield from map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
