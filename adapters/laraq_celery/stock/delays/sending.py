"""Delays: decides which jobs of one broker wait in the store, and puts them there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

from celery import Celery
from celery.utils.quorum_queues import detect_quorum_queues
from celery.utils.time import maybe_iso8601, maybe_make_aware

from laraq.ports import Delayed, DelayedMessage
from laraq_celery.stock.delays.address import address_of, knows_no_delay
from laraq_celery.stock.delays.written import WritingProducer

#: Messages dropped in one step.
PAGE = 500


class Delays:
    """The delayed jobs of one broker: the app's own, or the one at `url`."""

    def __init__(self, app: Celery, url: str | None, pool: Callable[[], Any]) -> None:
        self._app = app
        self._url = url
        #: Returns kombu's pool of producers for the broker; called at each use, because a fork has its own pools.
        self._pool = pool
        #: Whether this worker process has moved all messages that were due when it started.
        self.moved = False

    @property
    def store(self) -> Delayed | None:
        """The store of delayed jobs; None if the broker supports delays, or not all processes share the store."""
        if not self._broker_knows_none:
            return None
        delayed: Delayed | None = self._app.laraq.delayed
        return delayed

    @property
    def lacking(self) -> str:
        """The reason why there is no store."""
        if not self._broker_knows_none:
            return "Celery has RabbitMQ keep those for quorum queues"
        return "no store shared by all processes is configured: set laraq_store"

    @cached_property
    def broker(self) -> str:
        """The name of the broker in the store."""
        return address_of(self._app.connection_for_write(self._url))

    @property
    def over(self) -> float:
        """The threshold in seconds; shorter delays are left to Celery's timer in a worker."""
        return float(self._app.laraq.settings.store_delays_over)

    def seconds(self, delay: float, options: Mapping[str, Any] = MappingProxyType({})) -> float:
        """Seconds that a job with these message options waits in the store; 0 if it does not wait there."""
        if not (delay or "eta" in options) or self._app.conf.task_always_eager or self.store is None:
            return 0
        if (eta := options.get("eta")) is not None:
            delay = _seconds_until(eta, self._app)
        return delay if delay > self.over else 0

    @contextmanager
    def producer(self) -> Iterator[WritingProducer]:
        """A producer whose messages are put into the store together when the block ends.

        Raises StoreError.
        """
        with self._pool().acquire(block=True) as pooled:
            producer = WritingProducer(pooled.connection)
            yield producer
        if self.store is not None and (waiting := producer.waiting()):
            self.store.put(self.broker, waiting)

    # -- inspection ---------------------------------------------------------------------------------------------

    def count(self, queue: str) -> int:
        """The number of jobs in the store that wait for that queue."""
        return 0 if self.store is None else self.store.count(self.broker, queue)

    def waiting(self, queue: str, limit: int | None) -> Sequence[DelayedMessage]:
        """The jobs in the store that wait for that queue, next first."""
        return () if self.store is None else self.store.waiting(self.broker, queue, limit)

    def clear(self, queue: str, notify: Callable[[Sequence[DelayedMessage]], object] | None = None) -> int:
        """Drop the waiting jobs after `notify` was called with them, some hundred at a time; return how many."""
        dropped = 0
        while self.store is not None and (waiting := self.store.waiting(self.broker, queue, PAGE)):
            if notify is not None:
                notify(waiting)
            dropped += (gone := self.store.forget(self.broker, [message.id for message in waiting]))
            if not gone:
                break  # they were moved meanwhile
        return dropped

    @cached_property
    def _broker_knows_none(self) -> bool:
        connection = self._app.connection_for_write(self._url)
        if not knows_no_delay(connection):
            return False
        # For apps with quorum queues, Celery lets RabbitMQ keep delayed messages.
        return not detect_quorum_queues(self._app, connection.transport.driver_type)[0]


def _seconds_until(eta: Any, app: Celery) -> float:
    moment: datetime = maybe_make_aware(maybe_iso8601(eta), app.timezone)
    return moment.timestamp() - time.time()
