"""The tables of the broker, as a database has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, insert, select, text

from laraq.errors import ConfigurationError
from laraq_kombu import Posting, Put, new_put
from laraq_sqlalchemy.broker.store import TableStore, open_store
from laraq_sqlalchemy.broker.tables import bindings, create_tables, jobs, metadata, puts
from laraq_sqlalchemy.broker.transport import Transport
from laraq_sqlalchemy.database.engine import open_engine


def test_postgresql_is_told_to_vacuum_the_queue_often(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    create_tables(engine)
    create_tables(engine)
    with engine.connect() as connection:
        options = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'laraq_jobs'"))
    engine.dispose()
    assert {"fillfactor=85", "autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_cost_delay=0"} <= set(options)


def test_a_broker_of_an_older_release_is_migrated_with_its_jobs(
    sql_url: str, open_stores: Callable[[str], TableStore]
) -> None:
    engine = open_engine(sql_url)
    metadata.create_all(engine, tables=[jobs, bindings])
    with engine.begin() as connection:
        connection.execute(insert(jobs).values(queue="q", payload="old", available_at=0, created_at=0))
    if engine.dialect.name != "sqlite":
        with pytest.raises(ConfigurationError, match="laraq migrate"):
            open_store(sql_url, {}).connect()
    assert Transport.migrate(f"laraq-db+{engine.url.render_as_string(hide_password=False)}") == [
        "table laraq_puts of the broker"
    ]
    engine.dispose()
    store = open_stores(sql_url)
    store.put([Posting("q", "new")], new_put())
    assert [job.payload for job in store.take(["q"], 5).jobs] == ["old", "new"]


def test_writers_that_put_nothing_any_more_are_forgotten(
    sql_url: str, open_stores: Callable[[str], TableStore]
) -> None:
    store, engine = open_stores(sql_url), open_engine(sql_url)
    with engine.begin() as connection:
        connection.execute(insert(puts).values(writer=7, slot=5, number=5, put_at=1))
    store.put([Posting("q", "x")], Put(8, 1))
    with engine.connect() as connection:
        assert connection.scalars(select(puts.c.writer)).all() == [8]
    engine.dispose()
