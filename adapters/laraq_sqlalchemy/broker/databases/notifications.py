"""NotifyListener: PostgreSQL's LISTEN as an object to wait on."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Collection
from uuid import uuid4

from laraq_sqlalchemy.broker.connections import DriverConnections

#: The NOTIFY channel; its payload is a queue name.
CHANNEL = "laraq_jobs"


class NotifyListener:
    """A connection used only for LISTEN."""

    def __init__(self, connections: DriverConnections) -> None:
        self._connections = connections
        connection = connections.get("listener")
        connection.execute(f"LISTEN {CHANNEL}")
        self._libpq = connection.pgconn
        self._file: int = connection.fileno()

    def hears(self, notify: Callable[[str], object], patience: float = 2.0) -> bool:
        """Whether a notification sent over another connection arrives."""
        token = uuid4().hex
        notify(token)
        deadline = time.monotonic() + patience
        while token not in self.drain():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            select.select([self], [], [], left)
        return True

    def fileno(self) -> int:
        return self._file

    def drain(self) -> Collection[str]:
        queues = set()
        with self._connections.errors("listener"):
            self._libpq.consume_input()
            while (notification := self._libpq.notifies()) is not None:
                queues.add(notification.extra.decode())
        return queues

    def close(self) -> None:
        """Nothing to close: the connection belongs to the store and closes with it."""
