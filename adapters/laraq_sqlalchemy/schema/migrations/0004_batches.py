"""The tables of batches."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, SmallInteger, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME

_metadata = MetaData()

Table(
    "laraq_job_batches",
    _metadata,
    Column("id", NAME, primary_key=True),
    Column("name", LONG_TEXT, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("loads", Integer, nullable=False),
    Column("places", Integer, nullable=False),
    Column("allow_failures", Boolean, nullable=False),
    Column("wants", LONG_TEXT, nullable=False),
    Column("sent", LONG_TEXT, nullable=False),
    Column("options", LONG_TEXT, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("cancelled_at", BigInteger),
    Column("finished_at", BigInteger),
    Index("ix_laraq_job_batches_phase", "phase", "finished_at"),
    **EXACT_TEXT,
)
Table(
    "laraq_batch_jobs",
    _metadata,
    Column("batch_id", NAME, primary_key=True),
    Column("job", NAME, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("load_name", NAME, nullable=False),
    Column("place", Integer, nullable=False),
    **EXACT_TEXT,
)
Table(
    "laraq_batch_loads",
    _metadata,
    Column("batch_id", NAME, primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("first_place", Integer, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create them."""
    for table in _metadata.sorted_tables:
        yield CreateTable(table)
        yield from map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
