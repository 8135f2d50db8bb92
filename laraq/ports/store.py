"""The store: the other ports that keep something, in one place."""

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
    """Where laraq keeps what is not in the broker. Safe to use after fork and from several threads."""

    #: Shown in logs and errors; never holds a password.
    label: str
    #: Whether it is a database with transactions: batches are counted there by default.
    relational: bool

    @property
    def failed(self) -> FailedJobs:
        """The failed jobs kept here."""

    @property
    def batches(self) -> Batches:
        """The batches counted here."""

    @property
    def journal(self) -> Journal:
        """The journal kept here."""

    @property
    def locks(self) -> Locks:
        """The locks held here."""

    @property
    def limits(self) -> Limits:
        """The limits counted here."""

    @property
    def cache(self) -> Cache:
        """The cache kept here."""

    @property
    def parking(self) -> Parking:
        """The jobs that wait here for a lock or for limits."""

    @property
    def delayed(self) -> Delayed:
        """The messages that wait here for their time."""

    def migrate(self) -> Sequence[str]:
        """Bring the schema to this version of laraq; idempotent; name the steps taken, none when up to date."""

    def close(self) -> None:
        """Let go of connections; the store may be used again and then reconnects."""
