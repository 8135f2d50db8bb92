"""Transport: kombu's connection to the database broker, and its place in a worker's event loop."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import contextlib
import select
import time
from typing import Any

from kombu.transport import virtual
from sqlalchemy import inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from laraq.errors import ConfigurationError, StoreError
from laraq_kombu import Turns
from laraq_sqlalchemy.broker.channel import Channel as _Channel
from laraq_sqlalchemy.broker.databases.wakeups import WakeUp
from laraq_sqlalchemy.broker.presence import Presence, presence
from laraq_sqlalchemy.broker.routing import Routing
from laraq_sqlalchemy.broker.store import BrokerStore, open_store
from laraq_sqlalchemy.broker.tables import create_tables, metadata
from laraq_sqlalchemy.database.engine import label, open_engine

#: The part of the URL before the first `+`.
ALIAS = "laraq-db"


class Transport(virtual.Transport):
    """What it does in a worker, and when, see `Turns`."""

    Channel = _Channel
    can_parse_url = True
    driver_type = ALIAS
    driver_name = "laraq"
    connection_errors = (*virtual.Transport.connection_errors, StoreError)  # type: ignore[assignment]  # base: 1 element
    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        if getattr(client, "alt", None):
            raise ConfigurationError(
                "The database broker takes one URL: kombu cannot switch between laraq-db+... URLs."
                " Let the database's own fail-over address do it."
            )
        if not client.hostname:
            raise ConfigurationError("The database broker needs a database: laraq-db+sqlite:////path/laraq.db")
        if make_url(client.hostname).password is not None:
            # Told to everybody who asks a worker for `stats`, Flower among them; kombu takes the whole URL for a host.
            shown, told = self.as_uri(client.hostname), client.info
            client.info = lambda: {**told(), "hostname": shown}
        #: Whether an ETA becomes the due time of the row; off, workers hold such jobs in memory.
        self.native_delay = bool(options.get("native_delay", True))
        self.store: BrokerStore = open_store(client.hostname, options)
        self.presence: Presence = presence(client.hostname, options)
        self.routing = Routing(self.store)
        self.turns = Turns(self._pump, self._wait)
        self._consuming: set[_Channel] = set()
        self._loop: Any = None
        self._wakeup: WakeUp | None = None
        self._open = False

    @staticmethod
    def session_producer(app: Any, session: Any) -> Any:
        """A producer whose messages are part of the session's transaction (session.py)."""
        from laraq_sqlalchemy.broker.session import session_producer

        return session_producer(app, session)

    @classmethod
    def migrate(cls, url: str) -> list[str]:
        """Create the broker's tables where they are missing; name them. For `laraq migrate`."""
        engine = open_engine(url.removeprefix(f"{ALIAS}+"))
        try:
            known = set(inspect(engine).get_table_names())
            create_tables(engine)
            return [f"table {name} of the broker" for name in metadata.tables if name not in known]
        except SQLAlchemyError as error:
            raise StoreError(f"The broker's tables could not be made in {label(engine.url)}: {error}") from error
        finally:
            engine.dispose()

    @classmethod
    def as_uri(cls, uri: str, include_password: bool = False, mask: str = "**") -> str:
        shown = make_url(uri).render_as_string(hide_password=not include_password)
        return f"{ALIAS}+{shown.replace('***', mask)}"

    def driver_version(self) -> str:
        from sqlalchemy import __version__

        return f"sqlalchemy {__version__}"

    def establish_connection(self) -> Transport:
        try:
            self.store.connect()
            if leases := self.presence.ledger.renewable():
                # The database may have been away for longer than they last: before anything is reserved anew.
                self.store.extend(leases)
        except BaseException:
            self.store.close()
            raise
        self._open = True
        super().establish_connection()
        return self

    def verify_connection(self, connection: Any) -> bool:
        return self._open

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self._open = False
        with contextlib.suppress(StoreError):
            acks = self.presence.ledger.collect()
            while acks:
                self._send_last(acks)
                acks = self.presence.ledger.collect()
        self._leave_loop()
        self.store.close()

    def _send_last(self, acks: Any) -> None:
        try:
            self.store.step(acks, (), 0)
        except BaseException:
            self.presence.ledger.repay(acks)
            raise
        self.presence.ledger.paid(acks)

    # Waking

    def start_consuming(self, channel: _Channel) -> None:
        """The channel has a consumer (another one, maybe)."""
        if not self._consuming:
            self._wakeup = self.store.listen()
            self.turns.open()
            self.presence.heartbeat.attach()
            self._join_loop()
        self._consuming.add(channel)
        self.turns.poke()

    def stop_consuming(self, channel: _Channel) -> None:
        """The channel closed."""
        if channel in self._consuming:
            self._consuming.discard(channel)
            if not self._consuming:
                self._leave_loop()
                self.presence.heartbeat.detach()

    def _hear(self) -> None:
        if self._wakeup is not None:
            queues = self._wakeup.drain()
            if queues is None or queues:
                now = time.monotonic()
                for channel in self._consuming:
                    channel.hint(None if queues is None else set(queues), now)

    # In an event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self._loop = loop
        if self._consuming:
            self._join_loop()

    def _join_loop(self) -> None:
        if self._loop is None or self.turns.socket is None:
            return
        self.turns.join(self._loop)
        self._loop.add_reader(self.turns.socket, self._on_poke)
        if self._wakeup is not None:
            self._loop.add_reader(self._wakeup, self._on_wakeup)

    def _leave_loop(self) -> None:
        if self._loop is not None:
            for reader in self._readers():
                self._loop.remove(reader)
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        self.turns.close()

    def _readers(self) -> list[Any]:
        return [reader for reader in (self.turns.socket, self._wakeup) if reader is not None]

    def _on_poke(self) -> None:
        self.turns.quiet()
        self.turns.take()

    def _on_wakeup(self) -> None:
        self._hear()
        self.turns.take()

    # In a loop of the caller's

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver what there is, or wait for it; TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.turns.work():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no event from the broker in time")
            waits = [wait for wait in (self._wait(), left) if wait is not None]
            # Rounded up: waking a moment too early would spin until the moment has come.
            readable, _, _ = select.select(self._readers(), (), (), min(waits, default=1.0) + 0.001)
            if self.turns.socket in readable:
                self.turns.quiet()
            if self._wakeup is not None and self._wakeup in readable:
                self._hear()

    # Pumping

    def _pump(self) -> bool:
        delivered = False
        for channel in list(self._consuming):
            delivered = channel.pump() or delivered
        return delivered

    def _wait(self) -> float | None:
        waits = [wait for channel in self._consuming if (wait := channel.wait()) is not None]
        return min(waits, default=None)
