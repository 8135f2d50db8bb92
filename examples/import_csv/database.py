"""The database the cities go to. It is the application's own; laraq knows nothing of it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """All tables of this example."""


class City(Base):
    """A row of the file that was found to be right, or was put right."""

    __tablename__ = "cities"

    geonameid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    country: Mapped[str]
    division: Mapped[str]
    latitude: Mapped[float]
    longitude: Mapped[float]
    population: Mapped[int]
    timezone: Mapped[str]


class Confirmation(Base):
    """Somebody looked into it: a gap in the data is none."""

    __tablename__ = "confirmations"

    #: A country that has no divisions, or the number of a city where nobody lives.
    subject: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]


class Retry(Base):
    """A start of a job that ended in an exception and was followed by another. Told twice, it is still one."""

    __tablename__ = "retries"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str | None] = mapped_column(index=True)


class Report(Base):
    """How an import ended. What is repaired later is not in it."""

    __tablename__ = "reports"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str]
    #: Rows in the database.
    imported: Mapped[int]
    #: Jobs that failed.
    failed: Mapped[int]
    #: Starts that ended in an exception and were followed by another.
    retries: Mapped[int]


@cache
def engine() -> Engine:
    """The SQLite file at IMPORT_DATABASE. Without a pool nothing is open when the worker forks its children."""
    path = os.environ.get("IMPORT_DATABASE", "cities.db")
    # Seconds a writer waits for another one, which has the whole file.
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 30})
    event.listen(engine, "connect", _do_not_wait_for_the_disk)
    return engine


def open_session() -> Session:
    """What the jobs' `session: Session` is."""
    return Session(engine())


def create_tables() -> None:
    """Make what is missing, in a file whose readers and writer do not wait for each other."""
    with engine().connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    Base.metadata.create_all(engine())


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    """A power failure may undo the last commits, and nothing is broken by that in a file that is made anew."""
    connection.execute("PRAGMA synchronous = NORMAL")
