"""The tables of laraq as they are now; `migrations/` says how they came to be."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, MetaData, Table

from laraq_sqlalchemy.columns import EXACT_TEXT, LONG_TEXT, NAME, Moment

#: For Alembic: give it in `target_metadata` beside your own, and Alembic owns these tables instead of `laraq migrate`.
metadata = MetaData()

#: Which migrations this database had.
migrations = Table("laraq_migrations", metadata, Column("version", NAME, primary_key=True), **EXACT_TEXT)

failed_jobs = Table(
    "laraq_failed_jobs",
    metadata,
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

journal = Table(
    "laraq_journal",
    metadata,
    Column("writer", NAME, primary_key=True),
    Column("entries", LONG_TEXT, nullable=False),
    Column("written_at", Moment, nullable=False),
    **EXACT_TEXT,
)

claims = Table(
    "laraq_claims",
    metadata,
    Column("run_key", NAME, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("claimed_at", Moment, nullable=False, index=True),
    **EXACT_TEXT,
)

#: Here and below, times are milliseconds since the epoch by the server's clock, and `name` is `names.stored_name`.
locks = Table(
    "laraq_locks",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("owner", NAME, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)

limits = Table(
    "laraq_limits",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("maximum", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    # Not for order only: what breaks it is refused, see `sql/take_postgresql.sql`.
    CheckConstraint("used <= maximum", name="laraq_limits_within"),
    **EXACT_TEXT,
)

cache = Table(
    "laraq_cache",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("value", LONG_TEXT, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)
