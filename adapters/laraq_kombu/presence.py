"""Presence: the state of this process at one broker, independent of its connections."""

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
    """The leases of this process, renewed by one heartbeat over its own connection."""

    #: Most seconds between two beats, which also send owed acknowledgements.
    slowest_beat = 3600.0

    def __init__(self, store: StoreT, options: Mapping[str, Any]) -> None:
        """The transport's options `max_lease`, in seconds (see `Ledger`), and `on_lease_lost` are used."""
        max_lease = options.get("max_lease")
        self.ledger = Ledger(None if max_lease is None else float(max_lease))
        self.heartbeat = Heartbeat(self._beat, min(store.retry_after / 3, self.slowest_beat))
        #: Its own ledger, so that a worker's leases outlive its channels.
        self.store = store
        self._on_lease_lost: Callable[[Lease], None] | None = options.get("on_lease_lost")

    def settle_up(self, store: Reservations | None = None) -> None:
        """Send the owed acknowledgements, over another store if given; those that cannot be sent stay owed, and their
        leases are renewed."""
        with contextlib.suppress(StoreError):
            while self.ledger.flush_in(time.monotonic()) is not None:
                self._flush(store or self.store)

    def _beat(self) -> bool:
        leases = self.ledger.renewable()
        for lease in self.store.extend(leases) if leases else ():
            # A lease that is only owed was ended by its own acknowledgement, sent in the meantime.
            if self.ledger.drop(lease.tag) is not None:
                self._lost(lease)
        if self.ledger.flush_in(time.monotonic()) == 0.0:
            self._flush(self.store)
        busy = self._keep_more() or bool(len(self.ledger))
        if not busy:
            self.store.close()
        return busy

    def _keep_more(self) -> bool:
        """Renew what else a broker keeps for this process; return whether there is anything."""
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
    """The one presence of this process under `key`, created on first use."""
    with _lock:
        found: PresenceT | None = _presences.get(key)
        if found is None:
            found = _presences[key] = make()
        return found
