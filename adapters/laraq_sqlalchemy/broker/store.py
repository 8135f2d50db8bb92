"""open_store(): the store for the URL after `laraq-db+`, and its interface to the transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import URL

from laraq.errors import ConfigurationError
from laraq_kombu import RETRY_AFTER, lease_seconds
from laraq_kombu.routing import RoutingStore
from laraq_sqlalchemy.broker.databases.mysql import MySqlStore
from laraq_sqlalchemy.broker.databases.postgresql import PostgresStore
from laraq_sqlalchemy.broker.databases.sqlite import SqliteStore
from laraq_sqlalchemy.database.engine import open_engine


class TableStore(RoutingStore, Protocol):
    """Everything a transport needs from a database."""

    url: URL

    def hint(self, queues: Sequence[str]) -> None:
        """Notify idle workers that jobs of these queues were committed."""


def open_store(url: str, options: Mapping[str, Any]) -> TableStore:
    """The store for a SQLAlchemy URL. It reads the transport options `retry_after`, `poll` and `create_tables`; other
    keys are ignored, because kombu adds its own."""
    retry_after = lease_seconds(options.get("retry_after", RETRY_AFTER))
    poll = options.get("poll")
    create = bool(options.get("create_tables"))
    engine = open_engine(url)
    match engine.dialect.name:
        case "sqlite":
            return SqliteStore(engine, retry_after, poll)
        case "postgresql":
            return PostgresStore(engine, retry_after, poll, create=create)
        case "mysql" | "mariadb":
            return MySqlStore(engine, retry_after, poll, create=create)
        case other:
            raise ConfigurationError(
                f"The database broker does not speak {other!r}: use sqlite, postgresql, mysql or mariadb."
            )
