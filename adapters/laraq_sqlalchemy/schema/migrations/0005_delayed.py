"""The table of messages that are not due yet."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Column, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME

_delayed = Table(
    "laraq_delayed",
    MetaData(),
    Column("id", NAME, primary_key=True),
    Column("broker", NAME, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("body", LONG_TEXT, nullable=False),
    Index("ix_laraq_delayed_due", "broker", "due_at"),
    Index("ix_laraq_delayed_queue", "broker", "queue", "due_at"),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create it."""
    yield CreateTable(_delayed)
    yield from map(CreateIndex, sorted(_delayed.indexes, key=lambda index: str(index.name)))
