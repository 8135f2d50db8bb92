"""Bulk: sends many messages to the broker at once. One class for each method that brokers offer."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any, Protocol

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from laraq_celery.sending import redis_lists
from laraq_celery.sending.template import TaskMessage

#: Most messages in flight: a bulk keeps them in memory, and they are in doubt when a connection is lost.
IN_FLIGHT = 1000

#: Most bytes of messages that a bulk keeps in memory, whatever their number.
SIZE = 4_000_000

#: Seconds without a confirm after which a bulk fails: RabbitMQ's memory or disk alarm blocks publishers.
CONFIRM_TIMEOUT = 60


class Bulk(Protocol):
    """Messages on their way to the broker."""

    @property
    def taken(self) -> int:
        """The number of messages that the broker is known to have."""

    def add(self, message: TaskMessage) -> None:
        """Send the message, now or together with later ones."""

    def flush(self) -> None:
        """Send all added messages; when this returns, the broker has them."""

    def close(self) -> None:
        """Release all resources; messages that were not flushed are dropped."""


def open_bulk(connection: Connection, retry_policy: dict[str, Any]) -> Bulk:
    """The best method of this broker: many in one command, or confirmed together, or one by one."""
    channel = connection.default_channel
    if all(hasattr(channel, name) for name in ("confirm_select", "events", "connection")):  # as py-amqp's has
        return Confirmed(connection, retry_policy)
    if getattr(channel, "supports_batch_publish", True):
        collects = hasattr(channel, "create_publish_batch")
        if redis_lists.are_behind(channel):
            keeps_delayed = collects and getattr(channel, "keeps_delayed", False)
            return OnLists(connection, Collected(connection, channel) if keeps_delayed else None)
        if collects:
            return Collected(connection, channel)
    return OneByOne(connection, retry_policy)


def publish(connection: Connection, channel: Any, message: TaskMessage) -> None:
    """Send one message; errors are those of the transport, and there is no retry."""
    message.declare(connection, channel)
    if redis_lists.are_behind(channel) and redis_lists.fits(channel, message):
        redis_lists.push(channel, message)
    else:
        message.publish(channel)


class OneByOne:
    """For brokers that accept one message at a time; each is retried as Celery would."""

    def __init__(self, connection: Connection, retry_policy: dict[str, Any]) -> None:
        self.taken = 0
        self._connection = connection
        self._publish = connection.ensure(connection, self._publish_once, **retry_policy)

    def add(self, message: TaskMessage) -> None:
        """Send the message."""
        self._publish(message)
        self.taken += 1

    def flush(self) -> None:
        """Nothing to send."""

    def close(self) -> None:
        """Nothing to release."""

    def _publish_once(self, message: TaskMessage) -> None:
        publish(self._connection, self._connection.default_channel, message)


class Collected:
    """For transports that collect messages themselves: kombu's `create_publish_batch`."""

    def __init__(self, connection: Connection, channel: Any) -> None:
        self.taken = 0
        self._connection = connection
        self._channel = channel
        self._added = 0
        # Its own limit is never reached: only messages that are flushed here are known to be taken.
        self._collector = channel.create_publish_batch(max_size=IN_FLIGHT + 1)

    def add(self, message: TaskMessage) -> None:
        """Collect the message."""
        message.declare(self._connection, self._channel)
        template = message.template
        prepared = message.prepared(self._channel)
        self._collector.publish(prepared, exchange=template.exchange, routing_key=template.routing_key)
        self._added += 1
        if self._added - self.taken >= IN_FLIGHT:
            self.flush()

    def flush(self) -> None:
        """Send the collected messages."""
        self._collector.flush()
        self.taken = self._added

    def close(self) -> None:
        """Drop messages that were not sent."""
        self._collector.discard()
        self._collector.close()


class OnLists:
    """For kombu's Redis lists: collects messages and pushes all of them in one round trip."""

    def __init__(self, connection: Connection, delayed: Bulk | None = None) -> None:
        """`delayed` sends the messages that wait elsewhere until they are due."""
        self._taken = 0
        self._connection = connection
        self._channel: Any = connection.default_channel
        self._delayed = delayed
        #: By queue and priority.
        self._lists: dict[tuple[str, int], list[bytes | str]] = {}
        self._waiting = self._size = 0

    @property
    def taken(self) -> int:
        """The number of messages that the broker is known to have."""
        return self._taken + (self._delayed.taken if self._delayed is not None else 0)

    def add(self, message: TaskMessage) -> None:
        """Collect the message. One that may fan out, or needs more than a push to a list, is sent at once."""
        if self._delayed is not None and redis_lists.is_delayed(self._channel, message):
            self._delayed.add(message)
            return
        message.declare(self._connection, self._channel)
        if not redis_lists.fits(self._channel, message):
            self._push()  # keep the order
            message.publish(self._channel)
            self._taken += 1
            return
        queue, priority, value = redis_lists.entry(self._channel, message)
        self._lists.setdefault((queue, priority), []).append(value)
        self._waiting += 1
        self._size += len(value)
        if self._waiting >= IN_FLIGHT or self._size >= SIZE:
            self._push()

    def flush(self) -> None:
        """Push the messages to their lists."""
        self._push()
        if self._delayed is not None:
            self._delayed.flush()

    def close(self) -> None:
        """Drop the collected messages."""
        self._forget()
        if self._delayed is not None:
            self._delayed.close()

    def _push(self) -> None:
        if self._lists:
            redis_lists.push_all(self._channel, self._lists)
            self._taken += self._waiting
            self._forget()

    def _forget(self) -> None:
        self._lists = {}
        self._waiting = self._size = 0


class Confirmed:
    """For RabbitMQ: each message is confirmed, but not waited for alone. Uses its own channel in confirm mode."""

    def __init__(self, connection: Connection, retry_policy: dict[str, Any]) -> None:
        self.taken = 0
        self._connection = connection
        self._refused = 0
        #: Numbers of the unconfirmed messages, oldest first: the broker counts them from 1.
        self._unconfirmed: dict[int, None] = {}
        self._sent = 0
        # Only opening may be repeated: nothing was sent yet.
        self._channel = connection.ensure(connection, connection.channel, **retry_policy)()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.confirm_select()

    def add(self, message: TaskMessage) -> None:
        """Send the message; wait while too many are unconfirmed."""
        message.declare(self._connection, self._channel)
        self._sent += 1
        self._unconfirmed[self._sent] = None
        template = message.template
        # The method of the class: with `confirm_publish` the channel has another, which waits for each message.
        type(self._channel).basic_publish(
            self._channel,
            message.prepared(self._channel),
            exchange=template.exchange,
            routing_key=template.routing_key,
        )
        self._wait_for(IN_FLIGHT)

    def flush(self) -> None:
        """Wait for every confirm."""
        self._wait_for(1)
        if self._refused:
            raise OperationalError(f"the broker refused {self._refused} messages (basic.nack)")

    def close(self) -> None:
        """Close the channel; after a failure close the whole connection, without waiting for a reply."""
        if self._unconfirmed:
            self._connection.collect()
        elif self._channel.connection is not None:
            self._channel.close()

    def _wait_for(self, fewer: int) -> None:
        while len(self._unconfirmed) >= fewer:
            try:
                self._channel.connection.drain_events(timeout=CONFIRM_TIMEOUT)
            except TimeoutError:
                raise OperationalError(f"the broker has confirmed nothing for {CONFIRM_TIMEOUT} seconds") from None

    def _on_ack(self, number: int, multiple: bool) -> None:
        self.taken += self._settle(number, multiple)

    def _on_nack(self, number: int, multiple: bool) -> None:
        self._refused += self._settle(number, multiple)

    def _settle(self, number: int, multiple: bool) -> int:
        numbers = [one for one in self._unconfirmed if one <= number] if multiple else [number]
        for one in numbers:
            del self._unconfirmed[one]
        return len(numbers)
