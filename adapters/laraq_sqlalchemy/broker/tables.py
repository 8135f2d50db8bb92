"""The broker's tables, and their creation."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    event,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection, Engine

from laraq.errors import ConfigurationError, StoreError
from laraq_sqlalchemy.database.engine import label

metadata = MetaData()

# SQLite gives AUTOINCREMENT only to INTEGER; MySQL compares names without regard to case unless told.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Name = String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
_Payload = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")

#: All times are epoch milliseconds of the server's clock (SQLite: the host's).
jobs = Table(
    "laraq_jobs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("reserved_at", BigInteger, comment="NULL while nobody holds the job"),
    Column("available_at", BigInteger, nullable=False, comment="due time, or end of the lease while reserved"),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("queue", _Name, nullable=False),
    Column("payload", _Payload, nullable=False),
    # One index besides the key: every further one costs an entry per insert and per reservation. Priority
    # stands before the time, so that each (queue, priority) is a range that ends at now.
    Index("laraq_jobs_take", "queue", "priority", "available_at", "id"),
    sqlite_autoincrement=True,  # ids are never reused: they are delivery tags
    mysql_engine="InnoDB",
)

# A queue table is mostly dead rows: the default of vacuuming at 20 % would let the index bloat. Before 2.1 SQLAlchemy
# has no table option for it.
_VACUUM = DDL(  # type: ignore[no-untyped-call] # SQLAlchemy's
    "ALTER TABLE %(fullname)s SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02,"
    " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02)"
)
event.listen(jobs, "after_create", _VACUUM.execute_if(dialect="postgresql"))

bindings = Table(
    "laraq_bindings",
    metadata,
    Column("exchange", _Name, primary_key=True),
    Column("routing_key", _Name, primary_key=True),
    Column("queue", _Name, primary_key=True),
    Column("pattern", _Payload, nullable=False),
    Column("expires_at", BigInteger, comment="NULL for routes that stay"),
    mysql_engine="InnoDB",
)

#: The last puts of each writer (`laraq_kombu.Put`), until it has been inactive for a while.
puts = Table(
    "laraq_puts",
    metadata,
    Column("writer", BigInteger, primary_key=True, autoincrement=False),
    Column("slot", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("put_at", BigInteger, nullable=False),
    mysql_engine="InnoDB",
    sqlite_with_rowid=False,
)

#: Any number: processes that create the tables at the same time take turns on it.
_LOCK = 7_246_912_003

#: Seconds to wait for the turn.
_PATIENCE = 30


def create_tables(engine: Engine) -> None:
    """Create missing tables; idempotent, and safe when several processes do it at once."""
    with engine.connect() as connection:
        connection.detach()
        _serialize(connection)
        metadata.create_all(connection)
        connection.commit()
        if connection.dialect.name in ("mysql", "mariadb"):
            connection.exec_driver_sql(f"SELECT RELEASE_LOCK('{_LOCK}')")


def _serialize(connection: Connection) -> None:
    match connection.dialect.name:
        case "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        case "mysql" | "mariadb":
            taken = connection.exec_driver_sql(f"SELECT GET_LOCK('{_LOCK}', {_PATIENCE})").scalar()
            if taken != 1:
                raise StoreError(
                    f"The tables of the database broker in {label(connection.engine.url)} could not be made: another"
                    f" process has been making them for {_PATIENCE} seconds. Try again."
                )
        case "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def missing_tables(engine: Engine) -> set[str]:
    """Names of the missing tables; also checks that the database answers."""
    with engine.connect() as connection:
        connection.detach()
        return metadata.tables.keys() - inspect(connection).get_table_names()


def ensure_tables(engine: Engine, *, create: bool) -> None:
    """Raise ConfigurationError if tables are missing, or create them if `create` is set."""
    if create:
        create_tables(engine)
        return
    if missing_tables(engine):
        raise ConfigurationError(
            f"The tables of the database broker are missing in {label(engine.url)}:"
            " run `laraq migrate`, or set broker_transport_options={'create_tables': True}."
        )
