"""The tables of failed jobs and of the journal."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME, Moment

_metadata = MetaData()

Table(
    "laraq_failed_jobs",
    _metadata,
    Column("id", NAME, primary_key=True),
    Column("connection", NAME, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("job", LONG_TEXT, nullable=False),
    Column("payload", LONG_TEXT, nullable=False),
    Column("exception", LONG_TEXT, nullable=False),
    Column("failed_at", Moment, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("tags", LONG_TEXT, nullable=False),
    Column("batch_id", NAME, index=True),
    **EXACT_TEXT,
)
Table(
    "laraq_journal",
    _metadata,
    Column("writer", NAME, primary_key=True),
    Column("entries", LONG_TEXT, nullable=False),
    Column("written_at", Moment, nullable=False),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create both."""
    for table in _metadata.sorted_tables:
        yield CreateTable(table)
        yield from map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
