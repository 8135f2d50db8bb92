"""The schema of a database: its missing migrations, how they are run, and their SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from sqlalchemy import Connection, Dialect, Engine, func, insert, inspect, select
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from laraq.errors import StoreError
from laraq_sqlalchemy.database import sqlite
from laraq_sqlalchemy.schema import migrations, tables

#: Seconds to wait for another process that migrates the same database.
PATIENCE = 60

#: The number of PostgreSQL's advisory lock: `laraq` in ASCII.
_LOCK = 0x6C61726171


class Step(NamedTuple):
    """One migration."""

    version: str
    upgrade: Callable[[], Iterable[ExecutableDDLElement]]


def steps() -> list[Step]:
    """Every migration, the oldest first."""
    versions = sorted(module.name for module in iter_modules(migrations.__path__))
    return [Step(version, import_module(f"{migrations.__name__}.{version}").upgrade) for version in versions]


def migrate(engine: Engine) -> tuple[str, ...]:
    """Run the missing migrations and return their names; a second process waits and then finds none.

    MySQL cannot roll DDL back: there an interrupted step is run again, and what it created stays.
    """
    with engine.connect() as connection:
        if not missing(connection):
            return ()
        connection.rollback()
        with _alone(connection):
            done = upgrade(connection)
            connection.commit()
    return done


def upgrade(connection: Connection) -> tuple[str, ...]:
    """Run the missing migrations in the connection's transaction; the caller must exclude other processes."""
    left = missing(connection)
    connection.execute(CreateTable(tables.migrations, if_not_exists=True))
    for step in left:
        for element in step.upgrade():
            if not _exists(connection, element):
                connection.execute(element)
        connection.execute(insert(tables.migrations).values(version=step.version))
    return tuple(step.version for step in left)


def sql(dialect: Dialect, after: str | None = None) -> str:
    """The SQL of `migrate` for a database whose last migration was `after`, for people who run SQL themselves."""
    parts = [] if after else [_text(CreateTable(tables.migrations), dialect)]
    for step in steps():
        if after is None or step.version > after:
            parts.append(f"-- {step.version}")
            parts.extend(_text(element, dialect) for element in step.upgrade())
            done = insert(tables.migrations).values(version=step.version)
            parts.append(f"{done.compile(dialect=dialect, compile_kwargs={'literal_binds': True})};")
    return "\n\n".join(parts) + "\n"


def _text(element: ExecutableDDLElement, dialect: Dialect) -> str:
    lines = str(element.compile(dialect=dialect)).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines) + ";"


def missing(connection: Connection) -> list[Step]:
    """The migrations that the database did not have."""
    if not inspect(connection).has_table(tables.migrations.name):
        return steps()
    had = set(connection.scalars(select(tables.migrations.c.version)))
    return [step for step in steps() if step.version not in had]


def _exists(connection: Connection, element: ExecutableDDLElement) -> bool:
    """Whether a table or index exists: created by Alembic, or by an interrupted migration."""
    if isinstance(element, CreateTable):
        return inspect(connection).has_table(element.element.name)
    if isinstance(element, CreateIndex) and element.element.table is not None:
        found = inspect(connection).get_indexes(element.element.table.name)
        return element.element.name in {index["name"] for index in found}
    return False


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Make other processes that migrate this database wait."""
    if connection.dialect.name == "sqlite":
        sqlite.begin_writing(connection)
        yield
    elif connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        yield
    else:
        # Of the server, not of the database; hashed because names of locks are short.
        name = func.concat("laraq:", func.md5(func.database()))
        if connection.scalar(select(func.get_lock(name, PATIENCE))) != 1:
            raise StoreError(f"Another process has been migrating the database for {PATIENCE} s. Check on it.")
        try:
            yield
        finally:
            connection.execute(select(func.release_lock(name)))
