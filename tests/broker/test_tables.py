"""The tables of the broker, as a database has them."""

from __future__ import annotations

from sqlalchemy import create_engine, text

from laraq_sqlalchemy.broker.tables import create_tables


def test_postgresql_is_told_to_vacuum_the_queue_often(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    create_tables(engine)
    create_tables(engine)
    with engine.connect() as connection:
        options = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'laraq_jobs'"))
    engine.dispose()
    assert {"fillfactor=85", "autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_cost_delay=0"} <= set(options)
