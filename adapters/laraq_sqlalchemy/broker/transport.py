"""Transport: kombu's connection to the database broker, and its place in a worker's event loop."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from laraq.errors import ConfigurationError, StoreError
from laraq_kombu.routing import RoutingChannel, RoutingTransport
from laraq_sqlalchemy.broker.aliases import ALIAS
from laraq_sqlalchemy.broker.browser import TableBrowser
from laraq_sqlalchemy.broker.session import session_producer
from laraq_sqlalchemy.broker.store import TableStore, open_store
from laraq_sqlalchemy.broker.tables import create_tables, metadata
from laraq_sqlalchemy.database.engine import label, open_engine


class TableChannel(RoutingChannel):
    """AMQP's methods on the tables of the broker."""

    def browser(self) -> TableBrowser:
        """A browser, which reads the queues without taking anything."""
        store: Any = self.store  # a TableStore, as its transport's
        return TableBrowser(store)


class Transport(RoutingTransport):
    """kombu's connection to the database broker."""

    Channel = TableChannel
    can_parse_url = True
    driver_type = ALIAS
    driver_name = "laraq"
    store: TableStore

    def __init__(self, client: Any, **kwargs: Any) -> None:
        if getattr(client, "alt", None):
            raise ConfigurationError(
                "The database broker takes one URL: kombu cannot switch between laraq-db+... URLs."
                " Let the database's own fail-over address do it."
            )
        if not client.hostname:
            raise ConfigurationError("The database broker needs a database: laraq-db+sqlite:////path/laraq.db")
        if make_url(client.hostname).password is not None:
            # A worker's `stats` shows it, for example to Flower; kombu treats the whole URL as a host.
            shown, info = self.as_uri(client.hostname), client.info
            client.info = lambda: {**info(), "hostname": shown}
        super().__init__(client, **kwargs)

    def open_store(self) -> TableStore:
        return open_store(self.client.hostname, self.client.transport_options)

    session_producer = staticmethod(session_producer)

    @classmethod
    def migrate(cls, url: str) -> list[str]:
        """Create missing tables of the broker; return their names. For `laraq migrate`."""
        engine = open_engine(url.removeprefix(f"{ALIAS}+"))
        try:
            known = set(inspect(engine).get_table_names())
            create_tables(engine)
            return [f"table {name} of the broker" for name in metadata.tables if name not in known]
        except SQLAlchemyError as error:
            raise StoreError(f"The broker's tables could not be made in {label(engine.url)}: {error}") from error
        finally:
            engine.dispose()

    @classmethod
    def missing(cls, url: str) -> list[str]:
        """The names of the broker's tables that are missing, but for SQLite, where they are made when needed."""
        engine = open_engine(url.removeprefix(f"{ALIAS}+"))
        try:
            if engine.dialect.name == "sqlite":
                return []
            known = set(inspect(engine).get_table_names())
            return [name for name in metadata.tables if name not in known]
        except SQLAlchemyError as error:
            raise StoreError(f"The broker's tables could not be listed in {label(engine.url)}: {error}") from error
        finally:
            engine.dispose()

    @classmethod
    def as_uri(cls, uri: str, include_password: bool = False, mask: str = "**") -> str:
        shown = make_url(uri).render_as_string(hide_password=not include_password)
        return f"{ALIAS}+{shown.replace('***', mask)}"

    def driver_version(self) -> str:
        from sqlalchemy import __version__

        return f"sqlalchemy {__version__}"
