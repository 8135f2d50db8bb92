"""Presence: what this process is to one broker, whichever of its connections come and go."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from laraq.errors import StoreError
from laraq_kombu.heartbeat import Heartbeat
from laraq_kombu.lease import Lease
from laraq_kombu.ledger import Ledger
from laraq_kombu.store import Reservations

logger = logging.getLogger(__name__)


class ClosableReservations(Reservations, Protocol):
    """A store with connections of its own."""

    def close(self) -> None:
        """Close them; the next call opens them again."""


class Presence:
    """The leases of this process, renewed by one heartbeat over a connection of its own."""

    def __init__(
        self,
        store: ClosableReservations,
        interval: float,
        max_lease: float | None = None,
        on_lease_lost: Callable[[Lease], None] | None = None,
    ) -> None:
        """`interval` is the time between two beats, `max_lease` see `Ledger`, both in seconds."""
        self.ledger = Ledger(max_lease)
        self.heartbeat = Heartbeat(self._beat, interval)
        self._store = store
        self._on_lease_lost = on_lease_lost

    def settle_up(self) -> None:
        """Send the acknowledgements that are owed; what cannot be sent stays owed, and its leases are renewed."""
        with contextlib.suppress(StoreError):
            while self.ledger.flush_in(time.monotonic()) is not None:
                self._flush()

    def _beat(self) -> bool:
        leases = self.ledger.renewable()
        for lease in self._store.extend(leases) if leases else ():
            # What is only owed was lost to its own acknowledgement, sent in the meantime.
            if self.ledger.drop(lease.tag) is not None:
                self._lost(lease)
        if self.ledger.flush_in(time.monotonic()) == 0.0:
            self._flush()
        busy = self._keep_more() or bool(len(self.ledger))
        if not busy:
            self._store.close()
        return busy

    def _keep_more(self) -> bool:
        """Renew what else a broker keeps for this process; whether there is any of it."""
        return False

    def _flush(self) -> None:
        acks = self.ledger.collect()
        try:
            self._store.step(acks, (), 0)
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
