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
from laraq_kombu import Turns, lease_seconds
from laraq_redis.broker.channel import Channel as _Channel
from laraq_redis.broker.channel import SentinelChannel
from laraq_redis.broker.presence import RedisPresence

logger = logging.getLogger(__name__)

#: Seconds a reserved job may stay silent before it is handed out again (Laravel's `retry_after`).
RETRY_AFTER = 90.0

#: Seconds between two tries of a worker to begin on a server that says no.
HOLD_BACK = 3.0


class Transport(kombu_redis.Transport):
    """`cycle`, kombu's poller, is left with what it does for fan-out."""

    Channel = _Channel
    client: Any
    cycle: Any
    driver_name = "laraq"
    #: Also what the server says no with: a worker reconnects and tries again, as if it were away.
    connection_errors = (*kombu_redis.Transport.connection_errors, StoreError, ResponseError)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        #: Seconds a reserved job may stay silent.
        self.retry_after = lease_seconds(options.get("retry_after", RETRY_AFTER))
        poll = options.get("poll")
        #: Seconds between two looks at idle queues; None for what suits the server.
        self.poll = None if poll is None else float(poll)
        #: Whether a message with an ETA waits in Redis; off, it goes to a worker at once, as stock kombu does.
        self.native_delay = bool(options.get("native_delay", True))
        #: Those of every channel so far; another one only where a fail-over URL led elsewhere.
        self.presences: set[RedisPresence] = set()
        self.turns = Turns(self._pump, self._wait)
        self._consuming: set[_Channel] = set()
        self._loop: Any = None
        #: By file descriptor, what the poller was told to watch.
        self._watched: dict[int, socket.socket] = {}
        self._ticks: set[Any] = set()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        for presence in self.presences:
            presence.settle_up()
        self._leave()
        if self._loop is not None:
            self._loop.on_tick -= self._ticks

    def hold_back(self) -> None:
        """In a worker, which tries again at once: wait, for the server says no."""
        if self._loop is not None:
            time.sleep(HOLD_BACK)

    # Waking

    def start_consuming(self, channel: _Channel) -> None:
        """The channel has a consumer (another one, maybe)."""
        self.turns.open()
        if channel not in self._consuming:
            self._consuming.add(channel)
            channel.presence.heartbeat.attach()
        self._watch()
        self.turns.poke()

    def stop_consuming(self, channel: _Channel) -> None:
        """The channel closed."""
        if channel in self._consuming:
            self._consuming.discard(channel)
            channel.presence.heartbeat.detach()
            self._watch()
            if not self._consuming:
                self._leave()

    def _leave(self) -> None:
        self._watch(poked=False)
        self.turns.close()

    def _watch(self, *, poked: bool = True) -> None:
        """Have the poller watch the sockets of now: a new connection may have the number of an old one."""
        sockets = [found for channel in self._consuming for found in channel.sockets()]
        if poked and self.turns.socket is not None:
            sockets.append(self.turns.socket)
        if sockets == list(self._watched.values()):
            return  # as nearly always
        wanted = {found.fileno(): found for found in sockets}
        for fd in [fd for fd, found in self._watched.items() if wanted.get(fd) is not found]:
            del self._watched[fd]
            if self._loop is not None:
                self._loop.remove(fd)
            else:
                with contextlib.suppress(KeyError, ValueError, OSError):
                    self.cycle.poller.unregister(fd)
        for fd in wanted.keys() - self._watched.keys():
            if self._loop is not None:
                self._loop.add_reader(fd, self._on_readable, fd)
            else:
                self.cycle.poller.register(fd, READ | ERR)
        self._watched = wanted

    # In an event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        watched, self._watched = self._watched, {}
        for fd in watched:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self.cycle.poller.unregister(fd)
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, _KnownReaders(loop))
        self._ticks = set(loop.on_tick) - before
        self._loop = loop
        self.turns.join(loop)
        self._watch()

    def _on_readable(self, fd: int) -> None:
        self._heard(fd)
        self.turns.take()

    def _heard(self, fd: int) -> None:
        if self._watched.get(fd) is self.turns.socket:
            self.turns.quiet()

    # In a loop of the caller's

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver what there is, or wait for it; TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.turns.work():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no event from the broker in time")
            self.cycle.on_poll_start()
            waits = [wait for wait in (self._wait(), left) if wait is not None]
            # Rounded up: waking a moment too early would spin until the moment has come.
            if self._hear(self.cycle.poller.poll(min(waits, default=1.0) + 0.001) or ()):
                return

    def _hear(self, events: Any) -> bool:
        """Whether kombu's part delivered something."""
        delivered = False
        for fd, event in events:
            if fd not in self._watched:
                with contextlib.suppress(Empty):
                    delivered = bool(self.cycle.handle_event(fd, event)) or delivered
            else:
                self._heard(fd)
        if not events and (refresh := getattr(self.cycle, "maybe_refresh_binding_expiry", None)):
            refresh()  # kombu 5.7 and later let bindings expire
        return delivered

    # Pumping

    def _pump(self) -> bool:
        try:
            delivered = False
            for channel in list(self._consuming):
                delivered = channel.pump() or delivered
            return delivered
        finally:
            self._watch()

    def _wait(self) -> float | None:
        waits = [wait for channel in self._consuming if (wait := channel.wait()) is not None]
        return min(waits, default=None)


class _KnownReaders:
    """The loop as kombu's part sees it, which adds its readers anew at each tick, a system call each."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        # A new socket with an old number has been put into the poller by the cycle's `_register`.
        if self._loop.readers.get(fd) != (callback, args):
            self._loop.add_reader(fd, callback, *args)


class TlsTransport(Transport):
    """`laraq-rediss://`: kombu turns TLS on for the scheme `rediss` alone."""

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
