"""Settings with which many processes can share one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

#: Seconds a statement waits for another process that writes to the same file.
BUSY_TIMEOUT = 10


def make_private(dialect: object, record: object, arguments: Sequence[Any], options: object) -> None:
    """For the `do_connect` event: create a new file readable by its owner only.

    SQLite gives the files next to it (-wal, -shm) the same mode.
    """
    with suppress(OSError):  # it exists, or SQLite will report why it cannot be created
        os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def prepare(connection: sqlite3.Connection, record: object) -> None:
    """For the `connect` event: let readers read while one process writes.

    A commit survives the death of the process. After a power failure the file is intact, but the latest commits may be
    lost.
    """
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")


def begin_writing(connection: Connection) -> None:
    """Begin a transaction that may write from its start.

    A transaction that reads first and then writes is refused at once, without waiting, if another process wrote in
    between.
    """
    connection.begin()
    raw: Any = connection.connection.dbapi_connection
    # A user's engine may have a `begin` event that has already begun one.
    if not raw.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
