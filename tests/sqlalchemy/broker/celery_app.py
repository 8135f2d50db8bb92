"""The project on the database broker."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from laraq_kombu import QueueCount
from laraq_sqlalchemy.broker.store import open_store
from tests.kombu.project import BrokerProject


class DatabaseProject(BrokerProject):
    """A project whose broker and result backend are one database."""

    driver = "laraq-db"

    def __init__(self, folder: Path, database: str, **options: Any) -> None:
        self.database = database
        if "mysql" in database:
            self.late = 1.5  # nothing wakes a worker
            options = {"poll": None, **options}
        options = {"create_tables": True, **options}
        super().__init__(folder, "laraq_sqlalchemy.broker", f"laraq-db+{database}", f"db+{database}", options)

    def count(self, queue: str = "celery") -> QueueCount:
        store = open_store(self.database, self.options)
        try:
            store.connect()
            return store.count(queue)
        finally:
            store.close()


def rows(database: str, sql: str) -> list[tuple[Any, ...]]:
    """What a SQLite broker holds, read directly."""
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def pid_is_alive(pid: int) -> bool:
    """Whether the process exists."""
    return os.path.exists(f"/proc/{pid}")
