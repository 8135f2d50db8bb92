"""Deliveries: what one channel has delivered and not yet seen settled."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from kombu.transport import virtual

from laraq_kombu import running
from laraq_kombu.fate import Fate
from laraq_kombu.ledger import Ledger


class Settling(Protocol):
    """What of a channel is needed."""

    ledger: Ledger

    def requeue(self, tag: str) -> None:
        """Requeue one delivery, its attempt used."""

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        """Requeue deliveries."""

    def on_settled(self) -> None:
        """A delivery was settled."""


class Deliveries(virtual.QoS):
    """A channel's QoS, to be put before another one of kombu's among the bases.

    It counts for the prefetch limit; who renews and acknowledges is the ledger, which outlives the channel. kombu's
    own restores everything delivered when a channel closes, running jobs included, and writes what it cannot restore
    to a file. Here a lease simply ends.
    """

    channel: Any

    def __init__(self, channel: Settling, prefetch_count: int = 0) -> None:
        # Not the inherited one: it registers a restore at interpreter exit.
        self.channel = channel
        self.prefetch_count = prefetch_count
        self._delivered: OrderedDict[str, Any] = OrderedDict()
        self._dirty: set[str] = set()
        self._lock = threading.Lock()
        running.follow()
        running.await_results()
        self._release(running.fates_of_kept())

    @property
    def outstanding(self) -> int:
        """Deliveries not yet settled."""
        return len(self._delivered)

    def can_consume(self) -> bool:
        """Whether there is room for one more."""
        return not self.prefetch_count or self.outstanding < self.prefetch_count

    def append(self, message: Any, delivery_tag: str) -> None:
        """A delivery; the store has noted it already."""
        self._delivered[delivery_tag] = message
        running.delivered(delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Done with."""
        self._settle(delivery_tag, self.channel.ledger.settle)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Not done; without `requeue` nobody will."""
        self._settle(delivery_tag, self.channel.requeue if requeue else self.channel.ledger.settle)

    def _settle(self, tag: str, how: Callable[[str], object]) -> None:
        with self._lock:  # a pool's thread may settle while the loop closes the channel
            self._delivered.pop(tag, None)
            running.settled(tag)
            how(tag)
        self.channel.on_settled()

    def restore_unacked(self) -> None:
        """Give every delivery of this channel back, its attempt used."""
        for tag in list(self._delivered):
            self._settle(tag, self.channel.requeue)

    def restore_unacked_once(self, stderr: Any | None = None) -> None:
        """The channel closes: give back what has not begun, its attempt not used. What has stays leased until it ends,
        unless the worker ends first: then its attempt is used."""
        with self._lock:
            tags = list(self._delivered)
            self._delivered.clear()
        if running.worker_is_here():
            if tags:
                self._release(running.fates(tags))
                running.hold_results()
            return
        for tag in tags:
            running.settled(tag)
        self.channel.release(tags, counted=True)

    def _release(self, fates: Iterable[tuple[str, Fate]]) -> None:
        found = list(fates)
        for fate, counted in ((Fate.USED, True), (Fate.UNUSED, False)):
            self.channel.release([tag for tag, its in found if its is fate], counted=counted)
