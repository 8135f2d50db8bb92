"""Transport: kombu's Redis transport with reserved jobs, and its place in a worker's event loop."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import contextlib
import logging
import socket
import time
from queue import Empty
from ssl import CERT_NONE
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.utils.eventio import ERR, READ
from redis.exceptions import ResponseError

from laraq.errors import StoreError
from laraq_kombu import RETRY_AFTER, Presence, lease_seconds
from laraq_kombu.transport import LeasingTransport
from laraq_redis.broker.channel import Channel as _Channel
from laraq_redis.broker.channel import SentinelChannel
from laraq_redis.broker.store import RedisQueues

logger = logging.getLogger(__name__)

#: Seconds between two tries of a worker to start on a server that refuses commands.
HOLD_BACK = 3.0


class Transport(LeasingTransport, kombu_redis.Transport):
    """kombu's Redis transport; `cycle`, kombu's poller, is only used for fan-out."""

    Channel = _Channel
    client: Any
    cycle: Any
    driver_name = "laraq"
    #: Also refusals of the server: a worker reconnects and tries again, as if the server were down.
    connection_errors = (*kombu_redis.Transport.connection_errors, StoreError, ResponseError)
    _consuming: set[_Channel]  # type: ignore[assignment]

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        #: Seconds that a reserved job may stay without a renewal.
        self.retry_after = lease_seconds(options.get("retry_after", RETRY_AFTER))
        poll = options.get("poll")
        #: Seconds between two checks of idle queues; None for a default that suits the server.
        self.poll = None if poll is None else float(poll)
        #: The presences of all channels so far; more than one only if a fail-over URL led elsewhere.
        self.presences: set[Presence[RedisQueues]] = set()
        self._ticks: set[Any] = set()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._loop is not None:
            self._loop.on_tick -= self._ticks

    def _settle_up(self) -> None:
        for presence in self.presences:
            presence.settle_up()

    def hold_back(self) -> None:
        """Wait because the server refuses commands; called in a worker, which would retry at once."""
        if self._loop is not None:
            time.sleep(HOLD_BACK)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)
        self._ticks = set(loop.on_tick) - before

    # The watched sockets change when channels reconnect.

    def _sockets(self) -> list[socket.socket]:
        return [found for channel in self._consuming for found in channel.sockets()]

    def _pump(self) -> bool:
        try:
            return super()._pump()
        finally:
            self._watch()

    # In the caller's loop, kombu's poller waits.

    def _enter_poller(self, fd: int) -> None:
        self.cycle.poller.register(fd, READ | ERR)

    def _leave_poller(self, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.cycle.poller.unregister(fd)

    def _poll(self, timeout: float) -> bool:
        self.cycle.on_poll_start()
        delivered, events = False, self.cycle.poller.poll(timeout) or ()
        for fd, event in events:
            if fd not in self._watched:
                with contextlib.suppress(Empty):
                    delivered = bool(self.cycle.handle_event(fd, event)) or delivered
            else:
                self._heard(fd)
        if not events and (refresh := getattr(self.cycle, "maybe_refresh_binding_expiry", None)):
            refresh()  # kombu 5.7 and later let bindings expire
        return delivered


class TlsTransport(Transport):
    """`laraq-rediss://`: kombu enables TLS only for the scheme `rediss`."""

    def __init__(self, client: Any, **kwargs: Any) -> None:
        if not client.ssl:
            logger.warning(
                "laraq-rediss:// without TLS options (broker_use_ssl, or ssl_cert_reqs and ssl_ca_certs in the URL):"
                " the server's certificate is not checked, as with kombu's rediss://."
            )
            client.ssl = {"ssl_cert_reqs": CERT_NONE}
        super().__init__(client, **kwargs)


class SentinelTransport(Transport):
    """`laraq-sentinel://host:26379;laraq-sentinel://other:26379`, with the option `master_name`."""

    Channel = SentinelChannel
    default_port = kombu_redis.SentinelTransport.default_port  # type: ignore[assignment]  # kombu's base says None
