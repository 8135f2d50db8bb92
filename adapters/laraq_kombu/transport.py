"""Transports: kombu's connection to one of laraq's brokers, and its place in a worker's event loop."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import select
import time
from typing import Any

from kombu.transport import virtual

from laraq.errors import StoreError
from laraq_kombu.channel import LeasingChannel, StoreChannel
from laraq_kombu.presence import Presence, presence_of
from laraq_kombu.store import BrokerStore, WakeUp
from laraq_kombu.turns import Turns


class LeasingTransport(virtual.Transport):
    """The base of laraq's transports; a kombu transport must follow it among the bases.

    `Turns` describes what it does in a worker, and when.
    """

    client: Any

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        #: Whether a message with an ETA waits in the broker; if not, workers hold such jobs in memory.
        self.native_delay = bool(client.transport_options.get("native_delay", True))
        self.turns = Turns(self._pump, self._wait)
        self._consuming: set[LeasingChannel] = set()
        self._loop: Any = None
        #: The watched objects by file descriptor.
        self._watched: dict[int, Any] = {}

    # Defined by a broker

    def _sockets(self) -> list[Any]:
        """The sockets that become readable when there is something to do."""
        return []

    def _heard(self, fd: int) -> None:
        """Handle a socket that became readable."""
        if self._watched.get(fd) is self.turns.socket:
            self.turns.quiet()

    def _settle_up(self) -> None:
        """Send the owed acknowledgements before the connection closes."""

    # Waking

    def start_consuming(self, channel: LeasingChannel) -> None:
        """Called when the channel gets a consumer (the first or another)."""
        self.turns.open()
        if channel not in self._consuming:
            self._consuming.add(channel)
            channel.presence.heartbeat.attach()
        self._watch()
        self.turns.poke()

    def stop_consuming(self, channel: LeasingChannel) -> None:
        """Called when the channel closes."""
        if channel in self._consuming:
            self._consuming.discard(channel)
            channel.presence.heartbeat.detach()
            self._watch()
            if not self._consuming:
                self._leave()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self._settle_up()
        self._leave()

    def _leave(self) -> None:
        self._watch(poked=False)
        self.turns.close()

    def _watch(self, *, poked: bool = True) -> None:
        """Watch the current sockets: a new connection may have the number of an old one."""
        sockets = self._sockets()
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
                self._leave_poller(fd)
        for fd in wanted.keys() - self._watched.keys():
            if self._loop is not None:
                self._loop.add_reader(fd, self._on_readable, fd)
            else:
                self._enter_poller(fd)
        self._watched = wanted

    # In an event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        watched, self._watched = self._watched, {}
        for fd in watched:
            self._leave_poller(fd)
        super().register_with_event_loop(connection, _KnownReaders(loop))
        self._loop = loop
        self.turns.join(loop)
        self._watch()

    def _on_readable(self, fd: int) -> None:
        self._heard(fd)
        self.turns.take()

    # In a loop of the caller's

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver available jobs, or wait for them; TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.turns.work():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no event from the broker in time")
            waits = [wait for wait in (self._wait(), left) if wait is not None]
            # Rounded up: waking a moment too early would spin until the moment has come.
            if self._poll(min(waits, default=1.0) + 0.001):
                return

    def _poll(self, timeout: float) -> bool:
        """Wait until a socket is readable; return whether that delivered anything."""
        readable, _, _ = select.select(list(self._watched), (), (), timeout)
        for fd in readable:
            self._heard(fd)
        return False

    def _enter_poller(self, fd: int) -> None:
        """Let `_poll` watch the descriptor; the default polls the watched objects."""

    def _leave_poller(self, fd: int) -> None:
        """Let `_poll` no longer watch the descriptor."""

    # Pumping

    def _pump(self) -> bool:
        delivered = False
        for channel in list(self._consuming):
            delivered = channel.pump() or delivered
        return delivered

    def _wait(self) -> float | None:
        waits = [wait for channel in self._consuming if (wait := channel.wait()) is not None]
        return min(waits, default=None)


class _KnownReaders:
    """The loop as kombu sees it: for Redis, kombu adds its readers again at each tick, with a system call each."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        # A new socket with an old number has been put into the poller by the cycle's `_register`.
        if self._loop.readers.get(fd) != (callback, args):
            self._loop.add_reader(fd, callback, *args)


class StoreTransport(LeasingTransport):
    """A complete transport on the `BrokerStore` of `open_store`; see `RoutingTransport` for fan-out."""

    Channel: type[StoreChannel] = StoreChannel
    connection_errors = (*virtual.Transport.connection_errors, StoreError)  # type: ignore[assignment]  # base: 1 element
    implements = virtual.Transport.implements.extend(asynchronous=True, batch_publish=True)
    store: BrokerStore
    presence: Presence[Any]

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.store = self.open_store()
        # Each lease time has its own presence: a connection that was opened before the worker, to send a message, must
        # not decide how often the worker's leases are renewed.
        address = client.hostname, client.port, client.userid, client.virtual_host
        key = (type(self), *address, client.transport_options.get("retry_after"))
        self.presence = presence_of(key, self._make_presence)
        self._wakeup: WakeUp | None = None
        self._open = False

    def open_store(self) -> BrokerStore:
        """A store with its own connections to the broker that `self.client` names."""
        raise NotImplementedError

    def _make_presence(self) -> Presence[Any]:
        return Presence(self.open_store(), self.client.transport_options)

    def establish_connection(self) -> Any:
        try:
            self.store.connect()
            if leases := self.presence.ledger.renewable():
                # The broker may have been down for longer than the leases last: renew before anything is reserved
                # again.
                self.store.extend(leases)
        except BaseException:
            self.store.close()
            raise
        self._open = True
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        return self._open

    def close_connection(self, connection: Any) -> None:
        self._open = False
        super().close_connection(connection)
        self.store.close()

    def _settle_up(self) -> None:
        self.presence.settle_up(self.store)

    def listen(self) -> None:
        """Receive hints about new jobs from now on, if the broker can send them."""
        if self._wakeup is None:
            self._wakeup = self.store.listen()

    def _leave(self) -> None:
        wakeup, self._wakeup = self._wakeup, None
        super()._leave()
        if wakeup is not None:
            wakeup.close()

    def _sockets(self) -> list[Any]:
        return [] if self._wakeup is None else [self._wakeup]

    def _heard(self, fd: int) -> None:
        if self._wakeup is None or self._watched.get(fd) is self.turns.socket:
            super()._heard(fd)
            return
        queues = self._wakeup.drain()
        if queues is None or queues:
            for channel in self._consuming:
                if channel.intake is not None:
                    channel.intake.hint(queues)
