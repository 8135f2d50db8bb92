from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Inspector, inspect, text

from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.forking import in_children
from laraq_sqlalchemy import SqlStore, metadata
from laraq_sqlalchemy.schema import versions
from laraq_sqlalchemy.schema.tables import migrations

VERSIONS = [step.version for step in versions.steps()]


def shape(engine: Engine) -> dict[str, Any]:
    """The tables of laraq as the database describes them."""
    found: Inspector = inspect(engine)
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)
            ],
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "indexes": {(index["name"], *index["column_names"]) for index in found.get_indexes(table)},
            "options": {key: value for key, value in found.get_table_options(table).items() if "auto_inc" not in key}
            if engine.dialect.name in ("mysql", "mariadb")
            else {},
        }
        for table in found.get_table_names()
        if table in metadata.tables
    }


def test_migrations_end_where_the_tables_are(sql_url: str) -> None:
    store = SqlStore.from_url(sql_url)
    assert list(store.migrate()) == VERSIONS
    migrated = shape(store.database.engine)
    metadata.drop_all(store.database.engine)
    metadata.create_all(store.database.engine)
    assert shape(store.database.engine) == migrated
    assert migrated.keys() == metadata.tables.keys()
    store.close()


def test_tables_that_alembic_made_are_taken_over_with_their_rows(sql_url: str) -> None:
    store = SqlStore.from_url(sql_url)
    metadata.create_all(store.database.engine)
    store.failed.record(failure())
    assert list(store.migrate()) == VERSIONS
    assert store.failed.find("job-1") == failure()
    assert list(store.migrate()) == []
    store.close()


def test_a_migration_that_was_cut_off_is_finished(sql_url: str) -> None:
    store = SqlStore.from_url(sql_url)
    first, *_ = versions.steps()
    with store.database.engine.begin() as connection:
        connection.execute(next(iter(first.upgrade())))
    assert list(store.migrate()) == VERSIONS
    migrated = shape(store.database.engine)
    metadata.drop_all(store.database.engine)
    metadata.create_all(store.database.engine)
    assert shape(store.database.engine) == migrated
    store.close()


def test_of_many_who_migrate_at_once_one_takes_the_steps(sql_url: str, tmp_path: Path) -> None:
    def migrate(number: int) -> None:
        store = SqlStore.from_url(sql_url)
        (tmp_path / f"steps-{number}").write_text(" ".join(store.migrate()))
        store.failed.record(failure(f"job-{number}"))
        store.close()

    works: list[Callable[[], object]] = [partial(migrate, number) for number in range(6)]
    in_children(works)
    taken = [file.read_text() for file in tmp_path.glob("steps-*")]
    assert sorted(taken) == [*[""] * 5, " ".join(VERSIONS)]
    store = SqlStore.from_url(sql_url)
    assert store.failed.count() == 6
    store.close()


def test_many_may_find_a_new_sqlite_file_at_once(sqlite_url: str) -> None:
    def use(number: int) -> None:
        store = SqlStore.from_url(sqlite_url)
        store.failed.record(failure(f"job-{number}"))
        store.close()

    works: list[Callable[[], object]] = [partial(use, number) for number in range(8)]
    in_children(works)
    store = SqlStore.from_url(sqlite_url)
    assert store.failed.count() == 8
    store.close()


def test_the_sql_text_does_what_migrate_does(sql_url: str) -> None:
    store = SqlStore.from_url(sql_url)
    script = store.migration_sql()
    with store.database.engine.begin() as connection:
        for statement in script.split(";"):
            if statement.strip():
                connection.execute(text(statement))
    assert list(store.migrate()) == []
    written = shape(store.database.engine)
    metadata.drop_all(store.database.engine)
    store.migrate()
    assert shape(store.database.engine) == written
    store.close()


def test_the_sql_text_is_a_script(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore.from_url(sqlite_url)
    connection = sqlite3.connect(tmp_path / "laraq.sqlite3")
    connection.executescript(store.migration_sql())
    connection.close()
    store.failed.record(failure())
    assert list(store.migrate()) == []
    store.close()


def test_the_sql_text_needs_no_server() -> None:
    store = SqlStore.from_url("postgresql://nobody@nowhere.invalid/none")
    assert "CREATE TABLE laraq_failed_jobs" in store.migration_sql()
    assert store.migration_sql(after=VERSIONS[-1]).strip() == ""


def test_a_version_of_a_newer_laraq_is_left_alone(sqlite_url: str) -> None:
    store = SqlStore.from_url(sqlite_url)
    store.migrate()
    with store.database.engine.begin() as connection:
        connection.execute(migrations.insert().values(version="9999_from_the_future"))
    assert list(store.migrate()) == []
    store.close()
