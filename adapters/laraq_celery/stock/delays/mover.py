"""Mover: sends messages that have waited long enough. Every worker has one, for all messages of its broker."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from kombu.exceptions import OperationalError
from kombu.utils.json import dumps

from laraq.ports import Delayed, DelayedMessage
from laraq_celery.stock.delays.sending import Delays
from laraq_celery.stock.delays.written import read, to_publish

logger = logging.getLogger("laraq.delays")

#: Messages taken at once: a worker keeps them in memory, and they are late by HIDDEN if it is killed just then.
BATCH = 100

#: Seconds for which taken messages are hidden from other workers: far longer than sending them takes.
HIDDEN = 10.0

#: Seconds to wait when the broker or the store does not answer.
PAUSE = 2.0

#: Fewest and most seconds between two polls of a store in which nothing is due.
FASTEST, SLOWEST = 0.1, 30.0

#: Seconds after which unmoved messages of other brokers are reported, and between two such checks.
OVERDUE = 300.0


@runtime_checkable
class OntoLists(Protocol):
    """A store in Redis, which can move messages to a broker in the same database itself."""

    label: str

    def move(self, broker: str, moves: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> int:
        """Atomically, for each (id, [(list, text), ...]): if the message exists, drop it and push the texts."""


class Mover:
    """Moves due messages of one broker. It has its own connection, because it runs in its own thread."""

    def __init__(self, app: Any, delays: Delays, store: Delayed) -> None:
        self._app = app
        self._store = store
        self._delays = delays
        self._broker = delays.broker
        self._looks = min(max(delays.over / 2, FASTEST), SLOWEST)
        self._producer: Any = None
        #: Queues that are declared on its connection.
        self._declared: set[str] = set()
        self._pushes: list[tuple[str, str]] = []
        self._report_at = time.monotonic()
        self._pause = 0.0
        #: Whether the store is in the broker's Redis database: a message is then always in exactly one of them.
        self.atomic = isinstance(store, OntoLists) and store.label == self._broker.partition(" ")[0]

    def run(self) -> bool:
        """Move due messages. False: a stopping worker need not wait for this (`laraq_kombu.Heartbeat`)."""
        try:
            due = self._store.take(self._broker, BATCH, HIDDEN)
            if due.messages:
                self._move(due.messages)
            wait = self._looks if due.next_due is None else min(due.next_due, self._looks)
            self._pause = 0.0 if len(due.messages) == BATCH else wait
            self._delays.moved = self._delays.moved or len(due.messages) < BATCH
            self._report_others()
        except Exception as error:  # after any error, the thread must go on
            self.disconnect()
            self._pause = PAUSE
            logger.warning("Delayed jobs of %s are not moved, trying again: %r", self._broker, error)
        return False

    def wait(self) -> float:
        """Seconds until the next `run`: exact for waiting messages, and at most half of the shortest delay, so that a
        new message is seen before it is due."""
        return self._pause

    def _move(self, messages: Sequence[DelayedMessage]) -> None:
        moved = []
        for message in messages:
            self._pushes = []
            try:
                self._send(message)
            except (OperationalError, OSError):
                raise
            except Exception:
                # Broken, or refused by the broker, which closes the channel: other messages must not wait for it.
                logger.exception("A delayed message for %r cannot be sent, trying again", message.queue)
                self.disconnect()
            else:
                moved.append((message.id, self._pushes))
        if isinstance(self._store, OntoLists):
            self._store.move(self._broker, moved)
        else:
            self._store.forget(self._broker, [id for id, _ in moved])

    def _send(self, message: DelayedMessage) -> None:
        # It may be sent twice if sending and forgetting are two steps.
        written = read(message)
        arguments = to_publish(written, once=not self.atomic)
        if self._producer is None:
            self._producer, self._declared = self._connected(), set()
        with self._producer.connection._reraise_as_library_errors():
            for name in written["queues"]:
                if name not in self._declared:
                    self._declare(name)
            self._producer.publish(**arguments)

    def _declare(self, name: str) -> None:
        queues = self._app.amqp.queues
        # Not queues[name]: that would add an unknown queue to those this worker consumes.
        self._producer.maybe_declare(queues[name] if name in queues else queues.new_missing(name))
        self._declared.add(name)

    def _connected(self) -> Any:
        # RabbitMQ's confirms: a message must be safe there before it is forgotten here.
        connection = self._app.connection_for_write(transport_options={"confirm_publish": True})
        with connection._reraise_as_library_errors():
            channel = connection.channel()
        if self.atomic:
            self._note_pushes_of(channel)
        return self._app.amqp.Producer(channel, auto_declare=False)

    def _note_pushes_of(self, channel: Any) -> None:
        """Let the channel route and write messages as usual, but not push them: the store does that atomically."""
        put, prefix = channel._put, str(channel.global_keyprefix or "")

        def note(queue: str, message: Any, **options: Any) -> None:
            if queue in (getattr(channel, "_expires", None) or ()):
                put(queue, message, **options)  # an expiring queue, whose expiry each message renews
                return
            key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
            self._pushes.append((prefix + key, dumps(message)))

        channel._put = note

    def disconnect(self) -> None:
        """Close the connection; the next due message opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.connection.collect()

    def _report_others(self) -> None:
        if time.monotonic() < self._report_at:
            return
        self._report_at = time.monotonic() + OVERDUE
        for broker in self._store.overdue(OVERDUE):
            if broker != self._broker:
                logger.warning(
                    "Delayed jobs for the broker %s are long due, and no worker moves them; this one works for %s."
                    " Is it the same broker under another name? Every process has to call it by one name.",
                    broker,
                    self._broker,
                )
