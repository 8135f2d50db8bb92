"""Channel: kombu's Redis channel, with jobs reserved instead of popped."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis import ConnectionPool, Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from laraq.errors import StoreError
from laraq_kombu import UNDECODABLE, DeliveryTag, Job, Lease, Ledger, Posting, put_of, undecodable
from laraq_redis.broker.browser import KeyBrowser
from laraq_redis.broker.envelope import is_sent_again, seconds_to_wait, undated, unseal, without_eta
from laraq_redis.broker.intake import Intake
from laraq_redis.broker.keys import Keys
from laraq_redis.broker.presence import RedisPresence, presence
from laraq_redis.broker.qos import LeaseQoS
from laraq_redis.broker.restore import Restored, restore
from laraq_redis.broker.store import MOST_URGENT, Entry, RedisQueues
from laraq_redis.client.direct import direct

if TYPE_CHECKING:
    from laraq_redis.broker.publishing import PublishBatch
    from laraq_redis.broker.transport import Transport

logger = logging.getLogger(__name__)

#: Seconds between two looks for what stock workers on this Redis left unacknowledged.
SWEEP_INTERVAL = 60.0


class Channel(kombu_redis.Channel):
    """Publishing, fan-out, bindings, Sentinel and TLS are kombu's. Of consuming only fan-out is."""

    QoS = LeaseQoS
    connection: Transport
    qos: LeaseQoS

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        self._intake: Intake | None = None
        #: Whether what holds no message is delivered all the same, as a message nobody can decode, instead of being put
        #: aside in a queue. A worker that keeps such messages sets it.
        self.delivers_undecodable = False
        #: Leases of jobs that stock producers put into their list before they are due, with the seconds to wait and
        #: what is to wait.
        self._early: list[tuple[Lease, float, str]] = []
        self._sweep_at = time.monotonic() + SWEEP_INTERVAL
        super().__init__(connection, **kwargs)
        self.keys = Keys(self.global_keyprefix, self.sep, self.priority_steps)
        name = f"{connection.client.as_uri(include_password=True)} {self.global_keyprefix}"
        self.presence: RedisPresence = presence(name, self._open_queues, connection.client.transport_options)
        self.ledger: Ledger = self.presence.ledger
        connection.presences.add(self.presence)

    # Connections

    @property
    def open_transport(self) -> Transport:
        """The transport; StoreError once kombu has closed the channel, upon which it connects anew."""
        if self.connection is None:
            raise StoreError("The connection to the Redis broker was closed, and this channel of it with it.")
        return self.connection

    @property
    def state(self) -> Any:
        """Exchanges and bindings as kombu keeps them."""
        return self.open_transport.state

    def _get_pool(self, *args: Any, **kwargs: Any) -> Any:
        self.open_transport  # noqa: B018 - a closed channel opens no connections
        return super()._get_pool(*args, **kwargs)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """kombu makes a client for each command, which costs more than the command."""
        yield client or self._commands

    @cached_property
    def _commands(self) -> Any:
        return self._create_client()

    @cached_property
    def queues(self) -> RedisQueues:
        """The broker's jobs over this channel's own connections."""
        return RedisQueues(_client(self.pool), self.keys, self.open_transport.retry_after)

    def _open_queues(self) -> RedisQueues:
        sentinels = getattr(self, "_sentinel_manager", None)  # kombu has it since 5.7
        try:
            pool = self._get_pool()
        finally:
            self._sentinel_manager = sentinels  # what this channel closes; the new pool goes on needing its own
        return RedisQueues(_client(pool), self.keys, self.open_transport.retry_after)

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()
        if (queues := self.__dict__.get("queues")) is not None:
            direct(queues.client).close()
        for cached in ("_commands", "queues"):
            self.__dict__.pop(cached, None)

    # Publishing

    @property
    def keeps_delayed(self) -> bool:
        """Whether a message with an ETA waits in a place of its own; one that is due goes on the list of stock kombu,
        which `laraq_celery.sending.redis_lists` does without asking."""
        return self.open_transport.native_delay

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        properties = message["properties"]
        known = properties.get("delivery_tag")
        super()._inplace_augment_message(message, exchange, routing_key)
        DeliveryTag.keep(properties, known)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        delay = 0.0
        if self.open_transport.native_delay and message["headers"].get("eta"):
            # Also what is due by now: from here on the server's clock counts, and no worker's.
            delay, message = seconds_to_wait(message), without_eta(message)
        if not delay and queue in getattr(self, "_expires", ()):
            # Replies, whose time is to be set anew with each.
            super()._put(queue, message, **kwargs)
            return
        entry = Entry(dumps(message), self.keys.level(self._get_message_priority(message)), delay)
        if (batch := kwargs.get("_publish_batch")) is not None:
            batch.put(queue, entry)
        else:
            self._put_one(queue, entry, message)

    def _put_one(self, queue: str, entry: Entry, message: dict[str, Any]) -> None:
        put = put_of(message, queue)
        try:
            self.queues.put_entries(queue, [entry], put)
        except StoreError as error:
            # A job that goes back takes the place of its own earlier message, which is about to be acknowledged.
            if not is_sent_again(message) or not isinstance(error.__cause__, OutOfMemoryError):
                raise
            self.queues.put_entries(queue, [entry], put, even_when_full=True)

    def put_due(self, jobs: Mapping[tuple[str, int], Sequence[str | bytes]], tag: str | None = None) -> None:
        """Put messages that are due, by queue and priority, all in one round trip; `tag` is that of a single one.
        `laraq_celery.sending.redis_lists` would push them itself if this were not here."""
        lists = {(queue, self.keys.level(priority)): payloads for (queue, priority), payloads in jobs.items()}
        if not isinstance(tag, DeliveryTag):
            self.queues.push(lists)
            return
        for (queue, level), payloads in lists.items():
            self.queues.put_entries(queue, [Entry(payload, level) for payload in payloads], tag.put(queue))

    if hasattr(kombu_redis, "PublishBatch"):  # since kombu 5.7; whoever publishes looks for the method

        def create_publish_batch(self, max_size: int) -> PublishBatch:
            """What `Producer.batch()` collects messages in."""
            from laraq_redis.broker.publishing import PublishBatch

            return PublishBatch(self, max_size)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """A server that takes no writes for now need not be told what it knows, or what fan-out does without."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError:
            if queue not in self._fanout_queues and not self._is_bound(exchange, routing_key, pattern, queue):
                self.connection.hold_back()
                raise

    def _is_bound(self, exchange: str, *binding: str) -> bool:
        member = self.sep.join(part or "" for part in binding)
        with self.conn_or_acquire() as client:
            return bool(client.sismember(self.keyprefix_queue % (exchange,), member))

    # Queues

    def browser(self) -> KeyBrowser:
        """Looks into the queues without taking anything; `laraq_celery.stock` asks every channel for it."""
        return KeyBrowser(self.queues)

    def restore(self, queues: Sequence[str] = ()) -> list[Restored]:
        """Put delayed and reserved jobs on the lists stock kombu reads, before a roll-back; see restore.py."""
        return restore(self.queues, queues)

    def _size(self, queue: str) -> int:
        """Every job of the queue: pending, delayed and reserved."""
        return self.queues.count(queue).total

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._size(queue) > 0

    def _purge(self, queue: str) -> int:
        return self.queues.purge(queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        super()._delete(queue, *args, **kwargs)
        self.queues.clear(queue)

    # Consuming

    @property
    def active_queues(self) -> list[str]:
        """The queues on which kombu's poller is to wait with BRPOP."""
        return []

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        transport = self.open_transport
        super().basic_consume(queue, no_ack, *args, **kwargs)
        if queue not in self.active_fanout_queues:
            if self._intake is None:
                self._intake = Intake(
                    self.presence.queues,
                    self.ledger,
                    self.qos,
                    self._deliver,
                    poll=transport.poll,
                    patience=self.health_check_interval or 0.0,
                )
            self._intake.add(queue, leased=not no_ack)
        transport.start_consuming(self)

    def _basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super()._basic_cancel(consumer_tag)
        if self._intake is not None and queue is not None and queue not in self._active_queues:
            self._intake.remove(queue)

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        if self.connection is not None:
            self.connection.turns.poke()

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:
        """One job, or None; without `no_ack` it is leased like a consumed one."""
        queues, _ = self.presence.queues, self.open_transport
        taken = queues.take([queue], 1) if no_ack else queues.step((), [queue], 1)
        for job in taken.jobs:
            if not no_ack:
                self.ledger.hold([job.lease])
            raw = self._open(job, leased=not no_ack)
            if raw is not None:
                message = self.Message(raw, channel=self)
                if not no_ack:
                    self.qos.append(message, job.lease.tag)
                return message
        self._put_off_early()
        return None

    def on_settled(self) -> None:
        """A delivery was settled: there is credit again, and an acknowledgement to send."""
        if self._intake is not None:
            self._intake.settled()
        if self.connection is not None:
            self.connection.turns.reconsider()

    def sockets(self) -> list[socket.socket]:
        """What becomes readable when there is something to do for `pump`."""
        return [] if self._intake is None else self._intake.sockets()

    def pump(self) -> bool:
        """Take in what there is; whether a consumer got anything."""
        if self._intake is None or self.closed:
            return False
        delivered = self._intake.pump()
        self._put_off_early()
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_INTERVAL
            self.qos.restore_visible(num=self.unacked_restore_limit, interval=1)
        return delivered

    def _put_off_early(self) -> None:
        if self._early:
            early, self._early = self._early, []
            self.presence.queues.postpone(early, counted=False)

    def wait(self) -> float | None:
        """Seconds until `pump` may have work though nothing is readable; None: only after an event."""
        return None if self._intake is None or self.closed else self._intake.wait()

    def _deliver(self, job: Job, leased: bool) -> bool:
        if self.closed or job.lease.queue not in self._active_queues:  # cancelled while the job was under way
            if leased:
                self.release([job.lease.tag], counted=False)
            else:
                self.presence.queues.put([Posting(job.lease.queue, job.payload, MOST_URGENT)])
            return False
        raw = self._open(job, leased)
        if raw is None:
            return False
        self.connection._deliver(raw, job.lease.queue)
        return True

    def _open(self, job: Job, leased: bool) -> dict[str, Any] | None:
        """The message; None when there is none in it, or when it is for later."""
        try:
            raw = unseal(job)
        except ValueError as error:
            lease = job.lease
            if self.delivers_undecodable and leased:
                logger.error("Item %s of queue %r holds %s", lease.id, lease.queue, error)
                return undecodable(job)
            logger.error("Item %s of queue %r holds %s; moved to queue %r", lease.id, lease.queue, error, UNDECODABLE)
            self.queues.put([Posting(UNDECODABLE, job.payload, MOST_URGENT)])
            if leased:
                self.ledger.settle(lease.tag)
            return None
        if leased and self.open_transport.native_delay and (seconds := seconds_to_wait(raw)):
            self.ledger.drop(job.lease.tag)
            self._early.append((job.lease, seconds, undated(job.payload)))
            return None
        return raw

    # Giving back

    def give_back(self, tag: str) -> None:
        """Requeue one delivery, its attempt used."""
        self.release([tag], counted=True)

    def release(self, tags: Sequence[str], *, counted: bool) -> None:
        """Give leases back; where Redis is out of reach they run out by themselves."""
        leases = [lease for tag in tags if (lease := self.ledger.drop(tag)) is not None]
        if not leases:
            return
        try:
            self.presence.queues.release(leases, counted=counted)
        except StoreError as error:
            logger.warning(
                "%s job(s) could not be given back and come back when their lease ends: %s", len(leases), error
            )

    def close(self) -> None:
        """Stop consuming and give back what did not start."""
        if not self.closed:
            if self._intake is not None:
                self.release([job.lease.tag for job in self._intake.close()], counted=False)
            self.connection.stop_consuming(self)
        super().close()


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """The same through Redis Sentinel."""

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        """kombu takes the sentinels from those of the connection's URLs whose scheme is `sentinel`."""
        client = self.connection.client
        urls, client.alt = client.alt, [url.removeprefix("laraq-") for url in client.alt]
        try:
            return super()._sentinel_managed_pool(asynchronous)
        finally:
            client.alt = urls


def _client(pool: ConnectionPool) -> Redis:
    """A client that leaves keys alone, where kombu's would put `global_keyprefix` before some."""
    provider = pool.connection_kwargs.get("credential_provider")
    # As kombu does: whoever is told of the provider renews the credentials of the pool's connections.
    return Redis(connection_pool=pool, **({} if provider is None else {"credential_provider": provider}))
