"""Routing: the bindings of one connection's exchanges, read from the store and kept for a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence

from laraq_sqlalchemy.broker.store import BrokerStore

#: Seconds a table is believed, as long as it holds a route for the message at hand.
_BELIEVED = 1.0

Table = Sequence[tuple[str, str, str]]


class Routing:
    """A cache in front of `BrokerStore.routes`."""

    def __init__(self, store: BrokerStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Table]] = {}

    def table(self, exchange: str, *, fresh: bool) -> Table:
        """(routing key, pattern, queue) for each binding of the exchange."""
        until, table = self._known.get(exchange, (0.0, ()))
        if fresh or time.monotonic() > until:
            table = [(route.routing_key, route.pattern, route.queue) for route in self._store.routes(exchange)]
            self._known[exchange] = (time.monotonic() + _BELIEVED, table)
        return table

    def forget(self, exchange: str) -> None:
        """Read the exchange's table again next time."""
        self._known.pop(exchange, None)
