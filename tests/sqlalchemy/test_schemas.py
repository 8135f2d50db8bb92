"""Several applications in one PostgreSQL database: each in a schema of its own."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import create_engine, text

from laraq.messages.failure import FailedJob
from laraq_sqlalchemy.store.store import SqlStore


def test_a_schema_that_the_url_names_keeps_applications_apart(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA one"))
        connection.execute(text("CREATE SCHEMA two"))
    engine.dispose()
    mark = "&" if "?" in postgres_url else "?"
    one, two = (SqlStore.from_url(f"{postgres_url}{mark}options=-csearch_path%3D{name}") for name in ("one", "two"))
    for store in (one, two):
        assert store.migrate()
        assert store.locks.acquire("lock", store.label, 60)
    one.failed.record(FailedJob("id", "default", "celery", "shop.Job", {}, "ValueError", datetime.now(UTC)))
    assert (one.failed.count(), two.failed.count()) == (1, 0)
    assert two.migrate() == ()
    for store in (one, two):
        store.close()
