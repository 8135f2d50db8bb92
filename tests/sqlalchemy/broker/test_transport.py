"""What is said of its URL, and of its tables."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import pytest
from kombu.connection import Connection

from laraq.errors import ConfigurationError


def test_the_transport_needs_one_url_and_hides_its_password() -> None:
    with pytest.raises(ConfigurationError, match="one URL"):
        Connection("laraq-db+sqlite:///a.db;laraq-db+sqlite:///b.db").transport
    connection = Connection("laraq-db+postgresql+psycopg://me:secret@host/db")
    assert connection.as_uri() == "laraq-db+postgresql+psycopg://me:**@host/db"
    assert "secret" in connection.as_uri(include_password=True)


def test_who_asks_a_worker_for_its_stats_does_not_learn_the_password() -> None:
    connection = Connection("laraq-db+postgresql+psycopg://me:secret@host/db")
    for one in (connection, connection.clone()):  # pools clone
        assert one.transport.store.url.password == "secret"
        assert "secret" not in str(one.info())
        assert one.info()["hostname"] == "laraq-db+postgresql+psycopg://me:**@host/db"


def test_missing_tables_are_named(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="laraq migrate"):
        Connection(f"laraq-db+{postgres_url}").connect()
