"""Bindings shared by all processes of a broker: fan-out, and with it remote control and events."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kombu.transport import virtual

from laraq_kombu.channel import StoreChannel
from laraq_kombu.once import put_of
from laraq_kombu.presence import Presence
from laraq_kombu.store import Bindings, BrokerStore, Route
from laraq_kombu.transport import StoreTransport

#: Seconds that an expiring route lives without its consumer, unless its queue requests more.
ROUTE_TTL = 30.0

#: Seconds for which a table is cached, as long as it has a route for the message.
_BELIEVED = 1.0

Table = Sequence[tuple[str, str, str]]


class RoutingStore(BrokerStore, Bindings, Protocol):
    """A store that also keeps the bindings."""


class Routing:
    """The bindings of one connection's exchanges, read from the store and cached for a moment."""

    def __init__(self, store: Bindings) -> None:
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


class RoutingPresence(Presence[RoutingStore]):
    """A presence that also keeps the expiring routes of this process; they are renewed at each beat."""

    slowest_beat = ROUTE_TTL / 3

    def __init__(self, store: RoutingStore, options: Mapping[str, Any]) -> None:
        super().__init__(store, options)
        self._routes: dict[str, float] = {}

    def keep_routes(self, queue: str, expires_in: float) -> None:
        """Renew the expiring routes to the queue from now on."""
        self._routes[queue] = expires_in

    def leave_routes(self, queue: str) -> None:
        """Let the routes to the queue expire."""
        self._routes.pop(queue, None)

    def _keep_more(self) -> bool:
        routes = dict(self._routes)
        for expires_in in set(routes.values()):
            self.store.renew([queue for queue in routes if routes[queue] == expires_in], expires_in)
        if routes:
            self.store.sweep()
        return bool(routes)


class RoutingChannel(StoreChannel):
    """A channel whose exchanges lead to the queues that any process has bound to them."""

    supports_fanout = True
    presence: RoutingPresence
    store: RoutingStore

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        """`connection` must be a RoutingTransport."""
        super().__init__(connection, **kwargs)
        self._routing: Routing = connection.routing
        self._ttl: dict[str, float] = {}

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        queues = {queue for _, _, queue in self.get_table(exchange)}
        if queues:
            postings = [self.posting(queue, message) for queue in sorted(queues)]
            self.store.put(postings, put_of(message, f"exchange {exchange}"))

    def _new_queue(self, queue: str, auto_delete: bool = False, arguments: Any = None, **kwargs: Any) -> None:
        expires = (arguments or {}).get("x-expires")
        if expires is not None or auto_delete:
            self._ttl[queue] = max((expires or 0) / 1000, ROUTE_TTL)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: Any, queue: str) -> None:
        route = Route(exchange, routing_key or "", pattern or "", queue)
        expires_in = self._ttl.get(queue)
        if expires_in is None and route in self.store.routes(exchange):
            return
        self.store.bind(route, expires_in)
        self._routing.forget(exchange)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Bindings in the form of kombu's exchange types. Fan-outs are read again: a worker may have just started."""
        declared = (self.state.exchanges or {}).get(exchange, {})
        fresh = declared.get("type") == "fanout"
        return list(self._routing.table(exchange, fresh=fresh))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Any:
        """Queues for a message; after a miss the table is read again: a consumer may have just bound its queue."""
        found = super()._lookup(exchange, routing_key, default)
        if not found and exchange:
            self._routing.forget(exchange)
            found = super()._lookup(exchange, routing_key, default)
        return found

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        if if_empty and self._size(queue):
            return
        self._ttl.pop(queue, None)
        self.presence.leave_routes(queue)
        self.store.unbind(queue)
        self.state.queue_bindings_delete(queue)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        super().basic_consume(queue, no_ack, *args, **kwargs)
        if queue in self._ttl:
            self.presence.keep_routes(queue, self._ttl[queue])


class RoutingTransport(StoreTransport):
    """A transport on a `RoutingStore`."""

    Channel: type[RoutingChannel] = RoutingChannel
    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
    )
    store: RoutingStore
    presence: RoutingPresence

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.routing = Routing(self.store)

    def open_store(self) -> RoutingStore:
        raise NotImplementedError

    def _make_presence(self) -> RoutingPresence:
        return RoutingPresence(self.open_store(), self.client.transport_options)
