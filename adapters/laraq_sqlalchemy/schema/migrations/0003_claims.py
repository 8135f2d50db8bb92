"""The table of claimed starts."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq_sqlalchemy.database.columns import EXACT_TEXT, NAME, Moment

_claims = Table(
    "laraq_claims",
    MetaData(),
    Column("run_key", NAME, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("claimed_at", Moment, nullable=False, index=True),
    **EXACT_TEXT,
)


def upgrade() -> Iterator[ExecutableDDLElement]:
    """Create it."""
    yield CreateTable(_claims)
    yield from map(CreateIndex, sorted(_claims.indexes, key=lambda index: str(index.name)))
