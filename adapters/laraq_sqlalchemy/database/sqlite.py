"""What SQLite needs so that many processes can share one file."""

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
    """For the `do_connect` event: a file that is not there yet is made for its owner only.

    SQLite gives the files beside it (-wal, -shm) the same mode.
    """
    with suppress(OSError):  # it is there; or SQLite itself will say why it cannot be made
        os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def prepare(connection: sqlite3.Connection, record: object) -> None:
    """For the `connect` event: let readers read while one process writes.

    A commit survives the death of the process; of a power failure it is said only that nothing is broken and nothing
    older is lost than what is newer.
    """
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")


def begin_writing(connection: Connection) -> None:
    """Begin a transaction that has the right to write from its start.

    A transaction that reads first and then wants to write is refused at once, without waiting, when another process
    wrote in between.
    """
    connection.begin()
    raw: Any = connection.connection.dbapi_connection
    # An engine of the user may have a `begin` event that has begun already.
    if not raw.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
