"""Engines from URLs, with the settings laraq needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from laraq.config import EMBEDDED_URL
from laraq.errors import ConfigurationError, MissingExtraError
from laraq_sqlalchemy.database import sqlite

#: Most seconds until a database server accepts a connection.
CONNECT_TIMEOUT = 5

#: Driver and extra for URLs that name only the database; SQLAlchemy would choose older drivers.
_DRIVERS = {
    "postgresql": ("psycopg", "postgres"),
    "mysql": ("pymysql", "mysql"),
    "mariadb": ("pymysql", "mysql"),
}


def open_engine(url: str) -> Engine:
    """An engine that connects when it is first used.

    Any SQLAlchemy URL of SQLite, PostgreSQL, MariaDB or MySQL. Raises ConfigurationError for one that cannot be used,
    MissingExtraError when its driver is not installed.
    """
    parsed = _with_driver(_parse(url))
    try:
        # Parameters are the jobs' data, which must not appear in errors and logs.
        engine = create_engine(parsed, hide_parameters=True, connect_args=_connect_args(parsed))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(f"The database URL {label(parsed)} cannot be used: {error.args[0]}") from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The database URL {label(parsed)} needs a driver that is not installed: {error.name}."
        ) from error
    if engine.dialect.is_async:
        raise ConfigurationError(
            f"The database URL {label(parsed)} has an asyncio driver; a store needs a blocking one,"
            f" such as {parsed.get_backend_name()}+{_DRIVERS.get(parsed.get_backend_name(), ('pysqlite',))[0]}://."
        )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", sqlite.prepare)
        if parsed.database == make_url(EMBEDDED_URL).database:
            # The default file contains every job, so its mode is set; users set the mode of a file that they name.
            event.listen(engine, "do_connect", sqlite.make_private)
    return engine


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        # Not chained: SQLAlchemy's message contains the URL with its password.
        raise ConfigurationError(
            "The URL of a database store is invalid: expected dialect+driver://user:password@host:port/database."
        ) from None


def _with_driver(url: URL) -> URL:
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigurationError(
            "A SQLite store needs a file, as in sqlite:///laraq.db: a database in memory is seen by one thread only."
            " Use memory:// to keep nothing."
        )
    if url.drivername not in _DRIVERS:
        return url
    driver, extra = _DRIVERS[url.drivername]
    if find_spec(driver) is None:
        raise MissingExtraError(f"The store {label(url)}", driver, extra)
    return url.set(drivername=f"{url.drivername}+{driver}")


def _connect_args(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {} if "timeout" in url.query else {"timeout": sqlite.BUSY_TIMEOUT}
    if url.get_driver_name() in ("psycopg", "psycopg2", "pymysql", "mysqldb") and "connect_timeout" not in url.query:
        return {"connect_timeout": CONNECT_TIMEOUT}
    return {}


def label(url: URL) -> str:
    """The name of the database in messages: without the password, and without the query, which may contain one, too."""
    return url.set(query={}).render_as_string(hide_password=True)
