"""upsert: an INSERT that replaces the row with the same key, in the SQL of each database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Insert, Select, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite


def upsert(dialect: str, table: Table, rows: Select[Any] | None = None) -> Insert:
    """Insert the values it is executed with, or the result of `rows` for all columns in their order."""
    names = [column.name for column in table.columns]
    replaced = [column.name for column in table.columns if not column.primary_key]
    if dialect in ("mysql", "mariadb"):
        ours = mysql.insert(table) if rows is None else mysql.insert(table).from_select(names, rows)
        return ours.on_duplicate_key_update({name: ours.inserted[name] for name in replaced})
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    theirs = insert(table) if rows is None else insert(table).from_select(names, rows)
    return theirs.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: theirs.excluded[name] for name in replaced}
    )


def insert_new(dialect: str, table: Table) -> Insert:
    """Insert the values it is executed with unless a row with the same key exists; the row count shows which."""
    if dialect in ("mysql", "mariadb"):
        new: Insert = mysql.insert(table).prefix_with("IGNORE")
    else:
        new = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table).on_conflict_do_nothing()
    return new.execution_options(preserve_rowcount=True)  # SQLAlchemy drops the count of an INSERT otherwise
