"""`laraq migrate`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from celery import Celery
from click.testing import CliRunner, Result

from laraq import Laraq
from laraq.cli import laraq


@pytest.fixture
def migrate(sql_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls the command for a store in each database."""
    monkeypatch.setattr(sys.modules["laraq.current"], "_default", [])
    app = Celery("shop", broker="memory://", set_as_current=False)

    def migrate(*options: str) -> Result:
        try:
            return CliRunner().invoke(
                laraq, ["migrate", *options], obj=SimpleNamespace(app=app), catch_exceptions=False
            )
        finally:
            queue.store.close()

    queue = Laraq(app, store=sql_url)
    return migrate


def test_it_names_the_steps_taken_and_the_second_time_none(migrate: Callable[..., Result]) -> None:
    first = migrate()
    assert first.exit_code == 0
    assert first.stdout.startswith("0001")
    second = migrate()
    assert second.exit_code == 0
    assert second.stdout.endswith(" is up to date.\n")


def test_sql_is_printed_and_not_run(migrate: Callable[..., Result]) -> None:
    printed = migrate("--sql")
    assert printed.exit_code == 0
    assert "CREATE TABLE laraq_failed_jobs" in printed.stdout
    assert migrate().stdout.startswith("0001")


def test_a_store_without_a_schema_has_no_sql(call: Callable[..., Result]) -> None:
    assert call("migrate").stdout.endswith(" is up to date.\n")
    result = call("migrate", "--sql")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no schema" in result.stderr
