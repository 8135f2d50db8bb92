"""The store: the other ports that keep data, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from laraq.ports.batches import Batches
from laraq.ports.cache import Cache
from laraq.ports.delayed import Delayed
from laraq.ports.failed import FailedJobs
from laraq.ports.journal import Journal
from laraq.ports.limits import Limits
from laraq.ports.locks import Locks
from laraq.ports.parking import Parking


@runtime_checkable
class Store(Protocol):
    """Keeps laraq's data outside of the broker. Safe to use after a fork and from several threads."""

    #: Shown in logs and errors; never contains a password.
    label: str
    #: Whether the store is a database with transactions: batches are counted there by default.
    relational: bool

    @property
    def failed(self) -> FailedJobs:
        """The failed jobs in this store."""

    @property
    def batches(self) -> Batches:
        """The batches in this store."""

    @property
    def journal(self) -> Journal:
        """The journal in this store."""

    @property
    def locks(self) -> Locks:
        """The locks in this store."""

    @property
    def limits(self) -> Limits:
        """The limits in this store."""

    @property
    def cache(self) -> Cache:
        """The cache in this store."""

    @property
    def parking(self) -> Parking:
        """The jobs in this store that wait for a lock or for limits."""

    @property
    def delayed(self) -> Delayed:
        """The messages in this store that wait for their time."""

    def migrate(self) -> Sequence[str]:
        """Bring the schema to this version; idempotent; return the names of the steps taken, none when up to date."""

    def close(self) -> None:
        """Close the connections; the store may be used again and then reconnects."""
