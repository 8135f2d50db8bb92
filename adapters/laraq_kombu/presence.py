"""Presence: what this process is to one broker, whichever of its connections come and go."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from laraq.errors import StoreError
from laraq.process.forks import new_lock
from laraq_kombu.heartbeat import Heartbeat
from laraq_kombu.lease import Lease
from laraq_kombu.ledger import Ledger
from laraq_kombu.store import JobStore, Reservations

logger = logging.getLogger(__name__)

StoreT = TypeVar("StoreT", bound=JobStore)


class Presence(Generic[StoreT]):
    """The leases of this process, renewed by one heartbeat over a connection of its own."""

    #: Most seconds between two beats, in which what is owed is paid, too.
    slowest_beat = 3600.0

    def __init__(self, store: StoreT, options: Mapping[str, Any]) -> None:
        """Of the transport's options it knows `max_lease`, seconds (see `Ledger`), and `on_lease_lost`."""
        max_lease = options.get("max_lease")
        self.ledger = Ledger(None if max_lease is None else float(max_lease))
        self.heartbeat = Heartbeat(self._beat, min(store.retry_after / 3, self.slowest_beat))
        #: Its own, so that what a worker holds outlives its channels.
        self.store = store
        self._on_lease_lost: Callable[[Lease], None] | None = options.get("on_lease_lost")

    def settle_up(self, store: Reservations | None = None) -> None:
        """Send the acknowledgements that are owed, over another store where one is named; what cannot be sent stays
        owed, and its leases are renewed."""
        with contextlib.suppress(StoreError):
            while self.ledger.flush_in(time.monotonic()) is not None:
                self._flush(store or self.store)

    def _beat(self) -> bool:
        leases = self.ledger.renewable()
        for lease in self.store.extend(leases) if leases else ():
            # What is only owed was lost to its own acknowledgement, sent in the meantime.
            if self.ledger.drop(lease.tag) is not None:
                self._lost(lease)
        if self.ledger.flush_in(time.monotonic()) == 0.0:
            self._flush(self.store)
        busy = self._keep_more() or bool(len(self.ledger))
        if not busy:
            self.store.close()
        return busy

    def _keep_more(self) -> bool:
        """Renew what else a broker keeps for this process; whether there is any of it."""
        return False

    def _flush(self, store: Reservations) -> None:
        acks = self.ledger.collect()
        try:
            store.step(acks, (), 0)
        except BaseException:
            self.ledger.repay(acks)
            raise
        self.ledger.paid(acks)

    def _lost(self, lease: Lease) -> None:
        logger.warning(
            "Lease lost: job %s of queue %r was handed to another worker while attempt %s ran here",
            lease.id,
            lease.queue,
            lease.attempts,
        )
        if self._on_lease_lost is not None:
            self._on_lease_lost(lease)


PresenceT = TypeVar("PresenceT", bound=Presence[Any])

_presences: dict[Hashable, Any] = {}
_lock = new_lock()


def presence_of(key: Hashable, make: Callable[[], PresenceT]) -> PresenceT:
    """The one presence of this process called `key`, made by whoever asks first."""
    with _lock:
        found: PresenceT | None = _presences.get(key)
        if found is None:
            found = _presences[key] = make()
        return found
