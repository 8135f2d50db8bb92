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
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis import ConnectionPool, Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from laraq.errors import StoreError
from laraq_kombu import DeliveryTag, Job, Lease, Posting, Presence, presence_of, put_of
from laraq_kombu.channel import LeasingChannel
from laraq_kombu.deliveries import Deliveries, Settling
from laraq_kombu.envelope import seconds_to_wait
from laraq_redis.broker.browser import KeyBrowser
from laraq_redis.broker.envelope import is_sent_again, undated, without_eta
from laraq_redis.broker.intake import RedisIntake
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.restore import Restored, restore
from laraq_redis.broker.store import MOST_URGENT, RedisQueues
from laraq_redis.client.direct import direct

logger = logging.getLogger(__name__)

#: Seconds between two checks for messages that stock workers on this Redis left unacknowledged.
SWEEP_INTERVAL = 60.0


class RedisDeliveries(Deliveries, kombu_redis.QoS):  # type: ignore[misc]  # kombu's restore_unacked takes a client
    """Uses only kombu's `restore_visible`, which requeues what stock workers on the same queues left unacknowledged."""

    def __init__(self, channel: Settling, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._vrestore_count = 0

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Requeue such messages; if a full server refuses, laraq's own jobs can still be drained."""
        try:
            super().restore_visible(*args, **kwargs)
        except ResponseError as error:
            logger.warning("Unacknowledged messages of stock workers cannot be requeued at the moment: %s", error)


class Channel(LeasingChannel, kombu_redis.Channel):
    """kombu's channel for publishing, bindings, Sentinel, TLS and fan-out; consuming of queues is laraq's."""

    QoS = RedisDeliveries
    qos: RedisDeliveries
    intake: RedisIntake | None
    presence: Presence[RedisQueues]
    usual_priority = MOST_URGENT

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        #: Leases of jobs that stock producers put into their list before they are due, with the seconds to wait and the
        #: payload.
        self._early: list[tuple[Lease, float, str]] = []
        self._sweep_at = time.monotonic() + SWEEP_INTERVAL
        super().__init__(connection, **kwargs)
        self.keys = BrokerKeys(self.global_keyprefix, self.sep, self.priority_steps)
        name = f"{connection.client.as_uri(include_password=True)} {self.global_keyprefix}"
        self.presence = presence_of(name, lambda: Presence(self._open_queues(), connection.client.transport_options))
        self.ledger = self.presence.ledger
        connection.presences.add(self.presence)

    # Connections

    def _get_pool(self, *args: Any, **kwargs: Any) -> Any:
        self.open_transport  # noqa: B018 - a closed channel opens no connections
        return super()._get_pool(*args, **kwargs)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Keep one client: kombu creates one for each command, which costs more than the command."""
        yield client or self._commands

    @cached_property
    def _commands(self) -> Any:
        return self._create_client()

    @cached_property
    def store(self) -> RedisQueues:
        """The broker's jobs over this channel's own connections."""
        return RedisQueues(_client(self.pool), self.keys, self.open_transport.retry_after)

    @property
    def reservations(self) -> RedisQueues:
        return self.presence.store

    def _open_queues(self) -> RedisQueues:
        sentinels = getattr(self, "_sentinel_manager", None)  # kombu has it since 5.7
        try:
            pool = self._get_pool()
        finally:
            self._sentinel_manager = sentinels  # closed with this channel; the new pool still needs its own
        return RedisQueues(_client(pool), self.keys, self.open_transport.retry_after)

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()
        if (store := self.__dict__.get("store")) is not None:
            direct(store.client).close()
        for cached in ("_commands", "store"):
            self.__dict__.pop(cached, None)

    # Publishing

    @property
    def keeps_delayed(self) -> bool:
        """Whether a message with an ETA waits in a separate place; `laraq_celery.sending.redis_lists` pushes a message
        that is due to the list of stock kombu itself."""
        keeps: bool = self.open_transport.native_delay
        return keeps

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        delay = 0.0
        if self.open_transport.native_delay and message["headers"].get("eta"):
            # Also messages that are due by now: from here on only the server's clock counts.
            delay, message = seconds_to_wait(message), without_eta(message)
        if not delay and queue in getattr(self, "_expires", ()):
            # Replies, each of which renews the expiry.
            super()._put(queue, message, **kwargs)
            return
        posting = Posting(queue, dumps(message), MOST_URGENT - self._get_message_priority(message), delay)
        if (batch := kwargs.get("_publish_batch")) is not None:
            batch.put(posting)
        else:
            self._put_one(posting, message)

    def _put_one(self, posting: Posting, message: dict[str, Any]) -> None:
        put = put_of(message, posting.queue)
        try:
            self.store.put([posting], put)
        except StoreError as error:
            # A released job replaces its own earlier message, which is about to be acknowledged.
            if not is_sent_again(message) or not isinstance(error.__cause__, OutOfMemoryError):
                raise
            self.store.put([posting], put, even_when_full=True)

    def put_due(self, jobs: Mapping[tuple[str, int], Sequence[str | bytes]], tag: str | None = None) -> None:
        """Put due messages, by queue and priority, in one round trip; `tag` is the tag of a single message. Without
        this method, `laraq_celery.sending.redis_lists` would push them itself."""
        if not isinstance(tag, DeliveryTag):
            self.store.push(
                {(queue, self.keys.level(priority)): payloads for (queue, priority), payloads in jobs.items()}
            )
            return
        for (queue, priority), payloads in jobs.items():
            self.store.put([Posting(queue, payload, MOST_URGENT - priority) for payload in payloads], tag.put(queue))

    if hasattr(kombu_redis, "PublishBatch"):  # since kombu 5.7; publishers check for the method

        def create_publish_batch(self, max_size: int) -> kombu_redis.PublishBatch:
            """The batch in which `Producer.batch()` collects messages."""
            from laraq_redis.broker.publishing import RedisPublishBatch

            return RedisPublishBatch(self, max_size)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind the queue; if a server accepts no writes now, ignore it for a known binding or a fan-out."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError:
            if queue not in self._fanout_queues and not self._is_bound(exchange, routing_key, pattern, queue):
                self.open_transport.hold_back()
                raise

    def _is_bound(self, exchange: str, *binding: str) -> bool:
        member = self.sep.join(part or "" for part in binding)
        with self.conn_or_acquire() as client:
            return bool(client.sismember(self.keyprefix_queue % (exchange,), member))

    # Queues

    def browser(self) -> KeyBrowser:
        """A browser, which reads the queues without taking anything."""
        return KeyBrowser(self.store)

    def restore(self, queues: Sequence[str] = ()) -> list[Restored]:
        """Put delayed and reserved jobs on the lists stock kombu reads, before a roll-back; see restore.py."""
        return restore(self.store, queues)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._size(queue) > 0

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        super()._delete(queue, *args, **kwargs)
        self.store.clear(queue)

    # Consuming

    @property
    def active_queues(self) -> list[str]:
        """The queues on which kombu's poller waits with BRPOP."""
        return []

    def _takes(self, queue: str) -> bool:
        return queue not in self.active_fanout_queues

    def _open_intake(self) -> RedisIntake:
        return RedisIntake(
            self.reservations,
            self.ledger,
            self.qos,
            self._deliver,
            poll=self.open_transport.poll,
            patience=self.health_check_interval or 0.0,
        )

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:
        message = super().basic_get(queue, no_ack, **kwargs)
        self._put_off_early()
        return message

    def sockets(self) -> list[socket.socket]:
        """The sockets that become readable when there is work for `pump`."""
        return [] if self.intake is None else self.intake.sockets()

    def pump(self) -> bool:
        delivered = super().pump()
        self._put_off_early()
        if time.monotonic() >= self._sweep_at and not self.closed:
            self._sweep_at = time.monotonic() + SWEEP_INTERVAL
            self.qos.restore_visible(num=self.unacked_restore_limit, interval=1)
        return delivered

    def _open(self, job: Job, leased: bool) -> dict[str, Any] | None:
        message = super()._open(job, leased)
        if message is None or not leased or not self.open_transport.native_delay:
            return message
        if not (seconds := seconds_to_wait(message)):
            return message
        self.ledger.drop(job.lease.tag)
        self._early.append((job.lease, seconds, undated(job.payload)))
        return None

    def _put_off_early(self) -> None:
        if self._early:
            early, self._early = self._early, []
            self.reservations.postpone(early, counted=False)


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """The channel through Redis Sentinel."""

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        """The pool; kombu reads the sentinels from the connection's URLs with the scheme `sentinel`."""
        client = self.connection.client
        urls, client.alt = client.alt, [url.removeprefix("laraq-") for url in client.alt]
        try:
            return super()._sentinel_managed_pool(asynchronous)
        finally:
            client.alt = urls


def _client(pool: ConnectionPool) -> Redis:
    """A client that does not change keys, while kombu's puts `global_keyprefix` before some."""
    provider = pool.connection_kwargs.get("credential_provider")
    # As kombu does: with the provider, a client renews the credentials of the pool's connections.
    return Redis(connection_pool=pool, **({} if provider is None else {"credential_provider": provider}))
