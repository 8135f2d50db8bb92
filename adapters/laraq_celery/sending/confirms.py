"""Confirms: many messages to RabbitMQ, each confirmed, none waited for alone."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from laraq_celery.sending.message import Ready

#: Seconds without any confirm after which the broker has lost its chance: its memory or disk alarm blocks publishers.
PATIENCE = 60


def are_offered(channel: Any) -> bool:
    """Whether the channel speaks RabbitMQ's confirms, as py-amqp does."""
    return all(hasattr(channel, name) for name in ("confirm_select", "events", "connection"))


class Confirms:
    """Publishes through a channel of its own in confirm mode, with up to `window` messages unconfirmed."""

    def __init__(self, connection: Connection, window: int, retry_policy: dict[str, Any]) -> None:
        self.taken = 0
        self._connection = connection
        self._window = window
        self._refused = 0
        #: Numbers of the unconfirmed messages, oldest first: the broker counts them from 1.
        self._unconfirmed: dict[int, None] = {}
        self._sent = 0
        # Opening is the one step that may be repeated: nothing was sent yet.
        self._channel = connection.ensure(connection, connection.channel, **retry_policy)()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.confirm_select()

    def add(self, ready: Ready) -> None:
        """Send it; wait while too many are unconfirmed."""
        ready.declare(self._connection, self._channel)
        self._sent += 1
        self._unconfirmed[self._sent] = None
        route = ready.prebuilt
        # The class's: with `confirm_publish` the channel has another, which waits for each message.
        type(self._channel).basic_publish(
            self._channel, ready.prepared(self._channel), exchange=route.exchange, routing_key=route.routing_key
        )
        self._wait_for(self._window)

    def flush(self) -> None:
        """Wait for every confirm."""
        self._wait_for(1)
        if self._refused:
            raise OperationalError(f"the broker refused {self._refused} messages (basic.nack)")

    def close(self) -> None:
        """Close the channel; after a failure the whole connection, without a farewell that nobody may answer."""
        if self._unconfirmed:
            self._connection.collect()
        elif self._channel.connection is not None:
            self._channel.close()

    def _wait_for(self, fewer: int) -> None:
        while len(self._unconfirmed) >= fewer:
            try:
                self._channel.connection.drain_events(timeout=PATIENCE)
            except TimeoutError:
                raise OperationalError(f"the broker has confirmed nothing for {PATIENCE} seconds") from None

    def _on_ack(self, number: int, multiple: bool) -> None:
        self.taken += self._settle(number, multiple)

    def _on_nack(self, number: int, multiple: bool) -> None:
        self._refused += self._settle(number, multiple)

    def _settle(self, number: int, multiple: bool) -> int:
        numbers = [one for one in self._unconfirmed if one <= number] if multiple else [number]
        for one in numbers:
            del self._unconfirmed[one]
        return len(numbers)
