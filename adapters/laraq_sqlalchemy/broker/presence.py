"""Presence: what this process is to one broker, whichever of its connections come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laraq.process.forks import new_lock
from laraq_kombu import Presence as LeasePresence
from laraq_sqlalchemy.broker.store import BrokerStore, open_store

#: Seconds an expiring route lives without its consumer, unless its queue asks for more.
ROUTE_TTL = 30.0

#: Most seconds between two beats; routes are renewed at each.
_SLOWEST_BEAT = ROUTE_TTL / 3


class Presence(LeasePresence):
    """Keeps the expiring routes of this process as well."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        max_lease = options.get("max_lease")
        self._broker: BrokerStore = open_store(url, options)
        self._routes: dict[str, float] = {}
        super().__init__(
            self._broker,
            min(self._broker.retry_after / 3, _SLOWEST_BEAT),
            None if max_lease is None else float(max_lease),
            options.get("on_lease_lost"),
        )

    def keep_routes(self, queue: str, expires_in: float) -> None:
        """Renew the expiring routes to the queue from now on."""
        self._routes[queue] = expires_in

    def leave_routes(self, queue: str) -> None:
        """Let them expire."""
        self._routes.pop(queue, None)

    def _keep_more(self) -> bool:
        routes = dict(self._routes)
        for expires_in in set(routes.values()):
            self._broker.renew([queue for queue in routes if routes[queue] == expires_in], expires_in)
        if routes:
            self._broker.sweep()
        return bool(routes)


_presences: dict[tuple[str, object], Presence] = {}
_lock = new_lock()


def presence(url: str, options: Mapping[str, Any]) -> Presence:
    """The presence on the broker at `url`, made with the options of whoever asks first.

    Who leases for another time has another one: what was connected before the worker began, to send something, must
    not decide how often its leases are renewed.
    """
    key = url, options.get("retry_after")
    with _lock:
        found = _presences.get(key)
        if found is None:
            found = _presences[key] = Presence(url, options)
        return found
