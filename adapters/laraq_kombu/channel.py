"""Channels: reserve jobs under a lease, while kombu's own channels remove them from the queue."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from amqp.protocol import queue_declare_ok_t
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments

from laraq.errors import StoreError
from laraq_kombu.deliveries import Deliveries
from laraq_kombu.envelope import seal, unseal
from laraq_kombu.intake import Intake
from laraq_kombu.ledger import Ledger
from laraq_kombu.once import DeliveryTag, put_of
from laraq_kombu.presence import Presence
from laraq_kombu.publishing import PublishBatch
from laraq_kombu.store import BrokerStore, Job, JobStore, Posting
from laraq_kombu.turns import Turns
from laraq_kombu.undecodable import UNDECODABLE, undecodable

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """The part of a channel's transport that is needed."""

    client: Any
    state: Any
    turns: Turns
    native_delay: bool

    def start_consuming(self, channel: LeasingChannel) -> None:
        """Called when the channel gets a consumer (the first or another)."""

    def stop_consuming(self, channel: LeasingChannel) -> None:
        """Called when the channel closes."""

    def _deliver(self, message: dict[str, Any], queue: str) -> None: ...


class LeasingChannel(virtual.Channel):
    """The base of laraq's channels; a kombu channel must follow it among the bases."""

    QoS = Deliveries
    connection: Carrier
    qos: Deliveries
    presence: Presence[Any]
    ledger: Ledger

    #: The priority in the store of a message that has none.
    usual_priority = 0

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self.intake: Intake | None = None
        #: Whether an item that is not a message is delivered as an undecodable message, instead of being moved to a
        #: separate queue. Set by a worker that keeps such messages.
        self.delivers_undecodable = False
        super().__init__(connection, **kwargs)

    # Defined by a broker

    @property
    def store(self) -> JobStore:
        """The store in which the channel puts and counts jobs; StoreError once the channel is closed."""
        raise NotImplementedError

    @property
    def reservations(self) -> JobStore:
        """The store in which it reserves and releases jobs, even when it is closed."""
        raise NotImplementedError

    def _open_intake(self) -> Intake:
        """Create the intake for the first consumer."""
        raise NotImplementedError

    def _unseal(self, job: Job) -> dict[str, Any]:
        """The message of a job; ValueError if it holds none."""
        return unseal(job)

    # The connection

    @property
    def open_transport(self) -> Any:
        """The connection; StoreError once kombu has closed the channel, whereupon it reconnects."""
        if self.connection is None:
            raise StoreError("The connection to the broker was closed, and this channel of it with it.")
        return self.connection

    @property
    def state(self) -> Any:
        """kombu's exchanges and bindings."""
        return self.open_transport.state

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        properties = message["properties"]
        known = properties.get("delivery_tag")
        super()._inplace_augment_message(message, exchange, routing_key)
        DeliveryTag.keep(properties, known)

    # Queues

    def _size(self, queue: str) -> int:
        """The number of jobs in the queue: pending, delayed and reserved."""
        return self.store.count(queue).total

    def _purge(self, queue: str) -> int:
        return self.store.purge(queue)

    # Consuming

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        transport = self.open_transport
        super().basic_consume(queue, no_ack, *args, **kwargs)
        if self._takes(queue):
            if self.intake is None:
                self.intake = self._open_intake()
            self.intake.add(queue, leased=not no_ack)
        transport.start_consuming(self)

    def _takes(self, queue: str) -> bool:
        """Whether the queue's jobs come from the store."""
        return True

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if self.intake is not None and queue is not None and queue not in self._active_queues:
            self.intake.remove(queue)

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        if self.connection is not None:
            self.connection.turns.poke()

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:
        """One job, or None; without `no_ack` it is leased like a consumed one."""
        store, _ = self.reservations, self.open_transport
        taken = store.take([queue], 1) if no_ack else store.step((), [queue], 1)
        for job in taken.jobs:
            if not no_ack:
                self.ledger.hold([job.lease])
            raw = self._open(job, leased=not no_ack)
            if raw is not None:
                message = self.Message(raw, channel=self)
                if not no_ack:
                    self.qos.append(message, job.lease.tag)
                return message
        return None

    def on_settled(self) -> None:
        """Called when a delivery is settled: there is credit again, and an acknowledgement to send."""
        if self.intake is not None:
            self.intake.settled()
        if self.connection is not None:
            self.connection.turns.reconsider()

    def settling_together(self) -> AbstractContextManager[None]:
        """For a block that settles several deliveries, in the thread of the event loop: plan once at its end."""
        return nullcontext() if self.connection is None else self.connection.turns.planned_once()

    def pump(self) -> bool:
        """Take in the available jobs; return whether a consumer got any."""
        return self.intake is not None and not self.closed and self.intake.pump()

    def wait(self) -> float | None:
        """Seconds until `pump` may have work without a hint; None: only after an event."""
        return None if self.intake is None or self.closed else self.intake.wait()

    def _deliver(self, job: Job, leased: bool) -> bool:
        if self.closed or job.lease.queue not in self._active_queues:  # cancelled while the job was in transit
            if leased:
                self.release([job.lease.tag], counted=False)
            else:
                self.reservations.put([Posting(job.lease.queue, job.payload, self.usual_priority)])
            return False
        raw = self._open(job, leased)
        if raw is None:
            return False
        self.connection._deliver(raw, job.lease.queue)
        return True

    def _open(self, job: Job, leased: bool) -> dict[str, Any] | None:
        """The message of a job; None if it holds none: such an item is moved aside."""
        try:
            return self._unseal(job)
        except ValueError as error:
            lease = job.lease
            if self.delivers_undecodable and leased:
                logger.error("Item %s of queue %r holds %s", lease.id, lease.queue, error)
                return undecodable(job)
            logger.error("Item %s of queue %r holds %s; moved to queue %r", lease.id, lease.queue, error, UNDECODABLE)
            self.store.put([Posting(UNDECODABLE, job.payload, self.usual_priority)])
            if leased:
                self.ledger.settle(lease.tag)
            return None

    # Releasing

    def requeue(self, tag: str) -> None:
        """Requeue one delivery; its attempt is used."""
        self.release([tag], counted=True)

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        """Release leases; if the broker cannot be reached, they expire by themselves."""
        leases = [lease for tag in tags if (lease := self.ledger.drop(tag)) is not None]
        if not leases:
            return
        try:
            self.reservations.release(leases, counted=counted)
        except StoreError as error:
            logger.warning(
                "%s job(s) could not be released and are redelivered when their lease ends: %s", len(leases), error
            )

    def close(self) -> None:
        """Stop consuming, and release jobs that did not start."""
        if not self.closed:
            if self.intake is not None:
                self.release([job.lease.tag for job in self.intake.close()], counted=False)
            self.connection.stop_consuming(self)
        super().close()


class StoreChannel(LeasingChannel):
    """A channel on a `BrokerStore`. Bindings are known only to this process, as in kombu."""

    supports_batch_publish = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        """`connection` must be a StoreTransport."""
        super().__init__(connection, **kwargs)
        self.presence = connection.presence
        self.ledger = self.presence.ledger
        self._store: BrokerStore = connection.store

    @property
    def store(self) -> BrokerStore:
        self.open_transport  # noqa: B018 - raises once the channel is closed
        return self._store

    @property
    def reservations(self) -> BrokerStore:
        return self._store

    def _open_intake(self) -> Intake:
        self.open_transport.listen()
        store = self._store
        return Intake(store, self.ledger, self.qos, self._deliver, store.polling, acks_ride_along=store.acks_ride_along)

    def _unseal(self, job: Job) -> dict[str, Any]:
        return unseal(job, waited=self.open_transport.native_delay)

    # Publishing

    def prepare_queue_arguments(self, arguments: dict[str, Any] | None, **kwargs: Any) -> dict[str, Any]:
        """Pass on `expires` of control and event queues, which would otherwise not reach `_new_queue`."""
        prepared: dict[str, Any] = to_rabbitmq_queue_arguments(arguments or {}, **kwargs)
        return prepared

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, Any]:
        """Leave text unchanged; only bytes need base64."""
        if isinstance(body, bytes):
            encoded: tuple[str, str] = super().encode_body(body, "base64")
            return encoded
        return body, None

    def posting(self, queue: str, message: dict[str, Any]) -> Posting:
        """The posting for a message."""
        priority = self._get_message_priority(message)
        return seal(queue, message, priority, native_delay=self.open_transport.native_delay)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.store.put([self.posting(queue, message)], put_of(message, queue))

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """The batch in which `Producer.batch()` of kombu 5.7 collects messages."""
        return PublishBatch(self, max_size)

    # Queues

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> queue_declare_ok_t:
        """Count the jobs only for a passive declare, which needs it: counting may read the whole queue."""
        if passive or queue is None:
            declared: queue_declare_ok_t = super().queue_declare(queue, passive=passive, **kwargs)
            return declared
        self._new_queue(queue, **kwargs)
        return queue_declare_ok_t(queue, 0, 0)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Nothing to do: a queue exists as soon as it holds a job."""

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        super().release(tags, counted=counted)
        if self.connection is None:
            self._store.close()  # it belongs to this channel only
