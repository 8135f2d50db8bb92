"""The tables of laraq as they are now; `migrations/` says how they came to be."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
)

from laraq_sqlalchemy.database.columns import EXACT_TEXT, LONG_TEXT, NAME, Moment

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

#: `broker` and `queue` are `names.stored_name`.
delayed = Table(
    "laraq_delayed",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("broker", NAME, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("body", LONG_TEXT, nullable=False),
    Index("ix_laraq_delayed_due", "broker", "due_at"),
    Index("ix_laraq_delayed_queue", "broker", "queue", "due_at"),
    **EXACT_TEXT,
)

#: A row of its own for each member, so that a job told twice counts once; the counts are theirs, summed up.
batches = Table(
    "laraq_job_batches",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("name", LONG_TEXT, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("loads", Integer, nullable=False),
    # The place of the next member.
    Column("places", Integer, nullable=False),
    Column("allow_failures", Boolean, nullable=False),
    Column("wants", LONG_TEXT, nullable=False),
    Column("sent", LONG_TEXT, nullable=False),
    Column("options", LONG_TEXT, nullable=False),
    # `batch_rows.Phase`
    Column("phase", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("cancelled_at", BigInteger),
    Column("finished_at", BigInteger),
    # Settling a job changes neither, so that PostgreSQL need not touch the index.
    Index("ix_laraq_job_batches_phase", "phase", "finished_at"),
    **EXACT_TEXT,
)

batch_jobs = Table(
    "laraq_batch_jobs",
    metadata,
    Column("batch_id", NAME, primary_key=True),
    Column("job", NAME, primary_key=True),
    # Its place in `batch_rows.STATES`.
    Column("state", SmallInteger, nullable=False),
    Column("load_name", NAME, nullable=False),
    # Members of one batch in the order they were added.
    Column("place", Integer, nullable=False),
    **EXACT_TEXT,
)

#: Loads under way.
batch_loads = Table(
    "laraq_batch_loads",
    metadata,
    Column("batch_id", NAME, primary_key=True),
    Column("name", NAME, primary_key=True),
    # A load of the same name that ended earlier had members before this place.
    Column("first_place", Integer, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    **EXACT_TEXT,
)

#: `name` is `names.stored_name` of `Line.text`, which is in `line`, and `home` of its home.
parking_lines = Table(
    "laraq_parking_lines",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("home", NAME, nullable=False),
    Column("line", LONG_TEXT, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    # The place of who came last.
    Column("last", BigInteger, nullable=False),
    Index("ix_laraq_parking_lines_due", "home", "due_at"),
    **EXACT_TEXT,
)

parked_jobs = Table(
    "laraq_parked_jobs",
    metadata,
    # The name of the line.
    Column("line", NAME, primary_key=True),
    Column("owner", NAME, primary_key=True),
    Column("since", BigInteger, nullable=False),
    # 0 until the job is called.
    Column("call_again_at", BigInteger, nullable=False),
    Column("demands", LONG_TEXT, nullable=False),
    Column("message", LONG_TEXT, nullable=False),
    Index("ix_laraq_parked_jobs_order", "line", "call_again_at", "since"),
    **EXACT_TEXT,
)
