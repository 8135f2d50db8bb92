"""Channel: AMQP's verbs on the tables of the broker."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from amqp.protocol import queue_declare_ok_t
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments

from laraq.errors import StoreError
from laraq_kombu import UNDECODABLE, DeliveryTag, Feed, Job, Ledger, Posting, Route, put_of, undecodable
from laraq_sqlalchemy.broker.browser import TableBrowser
from laraq_sqlalchemy.broker.envelope import seal, unseal
from laraq_sqlalchemy.broker.presence import ROUTE_TTL
from laraq_sqlalchemy.broker.publishing import PublishBatch
from laraq_sqlalchemy.broker.qos import LeaseQoS

if TYPE_CHECKING:
    from laraq_sqlalchemy.broker.transport import Transport

logger = logging.getLogger(__name__)


class Channel(virtual.Channel):
    """One channel: its consumers, split into those that acknowledge and those that do not."""

    QoS = LeaseQoS
    supports_fanout = True
    supports_batch_publish = True
    connection: Transport
    qos: LeaseQoS

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.ledger: Ledger = connection.presence.ledger
        #: Whether what holds no message is delivered all the same, as a message nobody can decode, instead of being put
        #: aside in a queue. A worker that keeps such messages sets it.
        self.delivers_undecodable = False
        store = self._store = connection.store
        self._leased = Feed(store.polling, self.ledger, _jitter, acks_ride_along=store.acks_ride_along)
        self._unleased = Feed(store.polling, None, _jitter)
        self._inbox: deque[tuple[Job, bool]] = deque()
        self._ttl: dict[str, float] = {}

    @property
    def open_transport(self) -> Transport:
        """The transport; StoreError once kombu has closed the channel, upon which it connects anew."""
        if self.connection is None:
            raise StoreError("The connection to the database broker was closed, and this channel of it with it.")
        return self.connection

    @property
    def state(self) -> Any:
        """Exchanges and bindings as kombu keeps them."""
        return self.open_transport.state

    # Publishing

    def prepare_queue_arguments(self, arguments: dict[str, Any] | None, **kwargs: Any) -> dict[str, Any]:
        """Without this `expires` of control and event queues would never arrive at `_new_queue`."""
        prepared: dict[str, Any] = to_rabbitmq_queue_arguments(arguments or {}, **kwargs)
        return prepared

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, Any]:
        """Text travels as it is; only bytes need base64."""
        if isinstance(body, bytes):
            encoded: tuple[str, str] = super().encode_body(body, "base64")
            return encoded
        return body, None

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        properties = message["properties"]
        known = properties.get("delivery_tag")
        super()._inplace_augment_message(message, exchange, routing_key)
        DeliveryTag.keep(properties, known)

    def posting(self, queue: str, message: dict[str, Any]) -> Posting:
        """The row for a message."""
        priority = self._get_message_priority(message)
        return seal(queue, message, priority, native_delay=self.open_transport.native_delay)

    def browser(self) -> TableBrowser:
        """Looks into the queues without taking anything; `laraq_celery.stock` asks every channel for it."""
        return TableBrowser(self.open_transport.store)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.open_transport.store.put([self.posting(queue, message)], put_of(message, queue))

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        queues = {queue for _, _, queue in self.get_table(exchange)}
        if queues:
            postings = [self.posting(queue, message) for queue in sorted(queues)]
            self.open_transport.store.put(postings, put_of(message, f"exchange {exchange}"))

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """What `Producer.batch()` of kombu 5.7 collects messages in."""
        return PublishBatch(self, max_size)

    # Queues and routes

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> queue_declare_ok_t:
        """Counts the jobs only for a passive declare, which asks for it: counting reads the whole queue."""
        if passive or queue is None:
            declared: queue_declare_ok_t = super().queue_declare(queue, passive=passive, **kwargs)
            return declared
        self._new_queue(queue, **kwargs)
        return queue_declare_ok_t(queue, 0, 0)

    def _new_queue(self, queue: str, auto_delete: bool = False, arguments: Any = None, **kwargs: Any) -> None:
        expires = (arguments or {}).get("x-expires")
        if expires is not None or auto_delete:
            self._ttl[queue] = max((expires or 0) / 1000, ROUTE_TTL)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: Any, queue: str) -> None:
        route = Route(exchange, routing_key or "", pattern or "", queue)
        expires_in = self._ttl.get(queue)
        if expires_in is None and route in self.open_transport.store.routes(exchange):
            return
        self.open_transport.store.bind(route, expires_in)
        self.open_transport.routing.forget(exchange)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Bindings as kombu's exchange types want them. Fan-outs are read anew: a worker may have just come."""
        declared = (self.state.exchanges or {}).get(exchange, {})
        fresh = declared.get("type") == "fanout"
        return list(self.open_transport.routing.table(exchange, fresh=fresh))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Any:
        """Queues for a message; a miss is looked up anew, since the consumer may have bound its queue just now."""
        found = super()._lookup(exchange, routing_key, default)
        if not found and exchange:
            self.open_transport.routing.forget(exchange)
            found = super()._lookup(exchange, routing_key, default)
        return found

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        if if_empty and self._size(queue):
            return
        self._ttl.pop(queue, None)
        self.open_transport.presence.leave_routes(queue)
        self.open_transport.store.unbind(queue)
        self.state.queue_bindings_delete(queue)

    def _size(self, queue: str) -> int:
        """Every job of the queue: pending, delayed and reserved."""
        return self.open_transport.store.count(queue).total

    def _purge(self, queue: str) -> int:
        return self.open_transport.store.purge(queue)

    # Consuming

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[..., Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        transport = self.open_transport
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        feed = self._unleased if no_ack else self._leased
        feed.queues.append(queue)
        feed.hint(time.monotonic())
        if queue in self._ttl:
            transport.presence.keep_routes(queue, self._ttl[queue])
        transport.start_consuming(self)

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None or queue in self._active_queues:
            return
        for feed in (self._leased, self._unleased):
            if queue in feed.queues:
                feed.queues.remove(queue)
        self.open_transport.presence.leave_routes(queue)

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        if self.connection is not None:
            self.connection.turns.poke()

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:
        """One job, or None; without `no_ack` it is leased like a consumed one."""
        store = self.open_transport.store
        taken = store.take([queue], 1) if no_ack else store.step((), [queue], 1)
        for job in taken.jobs:
            if not no_ack:
                self.ledger.hold([job.lease])
            raw = self._open(job, no_ack)
            if raw is not None:
                message = self.Message(raw, channel=self)
                if not no_ack:
                    self.qos.append(message, job.lease.tag)
                return message
        return None

    def hint(self, queues: Any, now: float) -> None:
        """Jobs may have come; `queues` None: anywhere."""
        for feed in (self._leased, self._unleased):
            if feed.queues and (queues is None or not queues.isdisjoint(feed.queues)):
                feed.hint(now)

    def on_settled(self) -> None:
        """A delivery was settled: there is credit again, and an acknowledgement to send."""
        self._leased.settled(time.monotonic())
        if self.connection is not None:
            self.connection.turns.reconsider()

    def pump(self) -> bool:
        """Ask the store where that makes sense and hand over what it gives; whether it gave anything."""
        delivered = self._deliver_inbox()
        for feed in (self._unleased, self._leased):
            if self.closed:
                break
            ask = feed.next(time.monotonic(), *self._load(feed))
            if ask is None:
                continue
            try:
                store = self.open_transport.store
                if feed is self._leased:
                    taken = store.step(ask.acks, feed.queues, ask.limit)
                    self.ledger.hold(job.lease for job in taken.jobs)
                else:
                    taken = store.take(feed.queues, ask.limit)
            except BaseException:
                feed.failed(ask)
                raise
            feed.answered(ask, taken, time.monotonic())
            self._inbox.extend((job, feed is self._unleased) for job in taken.jobs)
            delivered = self._deliver_inbox() or delivered
        return delivered

    def wait(self) -> float | None:
        """Seconds until `pump` may have work; None: only after an event."""
        now = time.monotonic()
        waits = (
            self._unleased.wait(now, *self._load(self._unleased)),
            self._leased.wait(now, *self._load(self._leased)),
            0.0 if self._inbox else None,
        )
        return min((wait for wait in waits if wait is not None), default=None)

    def _load(self, feed: Feed) -> tuple[int, int]:
        """(prefetch limit, outstanding) of the feed; what needs no acknowledgement is not limited."""
        if feed is self._unleased:
            return 0, 0
        if not self.qos.can_consume():  # replaceable by the worker, so it has the last word
            return 1, 1
        return self.qos.prefetch_count, self.qos.outstanding + len(self._inbox)

    def _deliver_inbox(self) -> bool:
        delivered = False
        while self._inbox and not self.closed:
            job, unleased = self._inbox.popleft()
            if job.lease.queue not in self._active_queues:  # cancelled while the job was under way
                if unleased:
                    self.open_transport.store.put([Posting(job.lease.queue, job.payload)])
                else:
                    self.release([job.lease.tag], counted=False)
                continue
            raw = self._open(job, unleased)
            if raw is not None:
                delivered = True
                self.connection._deliver(raw, job.lease.queue)
        return delivered

    def _open(self, job: Job, unleased: bool) -> dict[str, Any] | None:
        try:
            return unseal(job, native_delay=self.open_transport.native_delay)
        except ValueError as error:
            lease = job.lease
            if self.delivers_undecodable and not unleased:
                logger.error("Row %s of queue %r holds %s", lease.id, lease.queue, error)
                return undecodable(job)
            logger.error("Row %s of queue %r holds %s; moved to queue %r", lease.id, lease.queue, error, UNDECODABLE)
            self.open_transport.store.put([Posting(UNDECODABLE, job.payload)])
            if not unleased:
                self.ledger.settle(lease.tag)
            return None

    # Giving back

    def give_back(self, tag: str) -> None:
        """Requeue one delivery, its attempt used."""
        self.release([tag], counted=True)

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        """Give leases back; where the store is out of reach they run out by themselves."""
        leases = [lease for tag in tags if (lease := self.ledger.drop(tag)) is not None]
        if not leases:
            return
        try:
            self._store.release(leases, counted=counted)
            if self.connection is None:
                self._store.close()  # nobody else will
        except StoreError as error:
            logger.warning(
                "%s job(s) could not be given back and come back when their lease ends: %s", len(leases), error
            )

    def close(self) -> None:
        """Stop consuming and give back what did not start."""
        if not self.closed:
            self.release([job.lease.tag for job, unleased in self._inbox if not unleased], counted=False)
            self._inbox.clear()
            self.connection.stop_consuming(self)
        super().close()


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads polls, guards nothing
