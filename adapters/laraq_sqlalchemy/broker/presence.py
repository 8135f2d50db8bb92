"""Presence: what this process is to one broker, whichever of its connections come and go."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from laraq.transport import Heartbeat, Lease, Ledger
from laraq_sqlalchemy.broker.store import BrokerStore, open_store

logger = logging.getLogger(__name__)

#: Seconds an expiring route lives without its consumer, unless its queue asks for more.
ROUTE_TTL = 30.0

#: Most seconds between two beats; routes are renewed at each.
_SLOWEST_BEAT = ROUTE_TTL / 3


class Presence:
    """Leases and expiring routes of this process, renewed by one heartbeat over a connection of its own."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        max_lease = options.get("max_lease")
        self.ledger = Ledger(None if max_lease is None else float(max_lease))
        self._store: BrokerStore = open_store(url, options)
        self._on_lease_lost: Callable[[Lease], None] | None = options.get("on_lease_lost")
        self._routes: dict[str, float] = {}
        self.heartbeat = Heartbeat(self._beat, min(self._store.retry_after / 3, _SLOWEST_BEAT))

    def keep_routes(self, queue: str, expires_in: float) -> None:
        """Renew the expiring routes to the queue from now on."""
        self._routes[queue] = expires_in

    def leave_routes(self, queue: str) -> None:
        """Let them expire."""
        self._routes.pop(queue, None)

    def _beat(self) -> bool:
        leases = self.ledger.renewable()
        for lease in self._store.extend(leases) if leases else ():
            # What is only owed was lost to its own acknowledgement, sent in the meantime.
            if self.ledger.drop(lease.tag) is not None:
                self._lost(lease)
        if self.ledger.flush_in(time.monotonic()) == 0.0:
            self._flush()
        routes = dict(self._routes)
        for expires_in in set(routes.values()):
            self._store.renew([queue for queue in routes if routes[queue] == expires_in], expires_in)
        if routes:
            self._store.sweep()
        busy = bool(len(self.ledger) or routes)
        if not busy:
            self._store.close()
        return busy

    def _flush(self) -> None:
        acks = self.ledger.collect()
        try:
            self._store.step(acks, (), 0)
        except BaseException:
            self.ledger.repay(acks)
            raise

    def _lost(self, lease: Lease) -> None:
        logger.warning(
            "Lease lost: job %s of queue %r was handed to another worker while attempt %s ran here",
            lease.id,
            lease.queue,
            lease.attempts,
        )
        if self._on_lease_lost is not None:
            self._on_lease_lost(lease)


_presences: dict[tuple[str, object], Presence] = {}
_lock = threading.Lock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


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
