"""Deliveries: the unsettled deliveries of one channel."""

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
    """The part of a channel that is needed."""

    ledger: Ledger

    def requeue(self, tag: str) -> None:
        """Requeue one delivery; its attempt is used."""

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        """Requeue deliveries."""

    def on_settled(self) -> None:
        """Called when a delivery is settled."""


class Deliveries(virtual.QoS):
    """A channel's QoS; a kombu QoS must follow it among the bases.

    It counts for the prefetch limit; the ledger, which outlives the channel, renews and acknowledges. When a channel
    closes, kombu's own QoS restores all deliveries, even of running jobs, and writes those that it cannot restore to a
    file. Here a lease simply expires.
    """

    channel: Any

    def __init__(self, channel: Settling, prefetch_count: int = 0) -> None:
        # Not the inherited constructor, which registers a restore at interpreter exit.
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
        """The number of unsettled deliveries."""
        return len(self._delivered)

    def can_consume(self) -> bool:
        """Whether there is room for another delivery."""
        return not self.prefetch_count or self.outstanding < self.prefetch_count

    def append(self, message: Any, delivery_tag: str) -> None:
        """Add a delivery, which the store has already recorded."""
        self._delivered[delivery_tag] = message
        running.delivered(delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a delivery."""
        self._settle(delivery_tag, self.channel.ledger.settle)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a delivery; without `requeue` it is dropped."""
        self._settle(delivery_tag, self.channel.requeue if requeue else self.channel.ledger.settle)

    def give_back(self, tags: Sequence[str]) -> None:
        """Requeue deliveries that the worker has not begun, in their order; their attempts are not used."""
        with self._lock:
            for tag in tags:
                self._delivered.pop(tag, None)
                running.settled(tag)
            self.channel.release(tags, counted=False)
        self.channel.on_settled()

    def _settle(self, tag: str, how: Callable[[str], object]) -> None:
        with self._lock:  # a pool's thread may settle while the loop closes the channel
            self._delivered.pop(tag, None)
            running.settled(tag)
            how(tag)
        self.channel.on_settled()

    def restore_unacked(self) -> None:
        """Release every delivery of this channel; their attempts are used."""
        for tag in list(self._delivered):
            self._settle(tag, self.channel.requeue)

    def restore_unacked_once(self, stderr: Any | None = None) -> None:
        """Release unstarted deliveries, attempts unused, when the channel closes. Started ones stay leased until they
        end; if the worker ends first, they are released with their attempts used."""
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
