"""Mover: sends on what has waited long enough. Every worker has one; any of them moves any message of its broker."""

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

#: Messages taken at once: what a worker keeps in memory, and what comes late by HIDDEN when it is killed right then.
BATCH = 100

#: Seconds for which no other worker is given what one has taken: far longer than sending a batch takes.
HIDDEN = 10.0

#: Seconds to wait when broker or store do not answer.
PAUSE = 2.0

#: Seconds at least and at most between two looks at a store in which nothing is due.
FASTEST, SLOWEST = 0.1, 30.0

#: Seconds after which messages of other brokers are reported that nobody moves, and between two such looks.
OVERDUE = 300.0


@runtime_checkable
class OntoLists(Protocol):
    """A store in Redis, which can hand messages to a broker in the same database itself."""

    label: str

    def move(self, broker: str, moves: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> int:
        """Atomically, for each (id, [(list, text), ...]): if the message is there drop it and push the texts."""


class Mover:
    """Moves due messages of one broker. Has a connection of its own, for it lives in a thread of its own."""

    def __init__(self, app: Any, delays: Delays, store: Delayed) -> None:
        self._app = app
        self._store = store
        self._delays = delays
        self._broker = delays.broker
        self._looks = min(max(delays.over / 2, FASTEST), SLOWEST)
        self._producer: Any = None
        #: Queues that were declared on its connection.
        self._declared: set[str] = set()
        self._pushes: list[tuple[str, str]] = []
        self._report_at = time.monotonic()
        self._pause = 0.0
        #: The store is in the broker's own Redis database: a message is there or here, at any time.
        self.atomic = isinstance(store, OntoLists) and store.label == self._broker.partition(" ")[0]

    def run(self) -> bool:
        """Move what is due. False: nothing is left to do for a worker that stops (`laraq_kombu.Heartbeat`)."""
        try:
            due = self._store.take(self._broker, BATCH, HIDDEN)
            if due.messages:
                self._move(due.messages)
            wait = self._looks if due.next_due is None else min(due.next_due, self._looks)
            self._pause = 0.0 if len(due.messages) == BATCH else wait
            self._delays.moved = self._delays.moved or len(due.messages) < BATCH
            self._report_others()
        except Exception as error:  # whatever it is: the thread must live
            self.disconnect()
            self._pause = PAUSE
            logger.warning("Delayed jobs of %s are not moved, trying again: %r", self._broker, error)
        return False

    def wait(self) -> float:
        """Seconds until `run` is to be called: exact for what waits, and twice in the shortest time a message may wait,
        so that a new one is seen before it is due."""
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
                # Broken, or refused by the broker, which closes the channel: the others must not wait for it.
                logger.exception("A delayed message for %r cannot be sent, trying again", message.queue)
                self.disconnect()
            else:
                moved.append((message.id, self._pushes))
        if isinstance(self._store, OntoLists):
            self._store.move(self._broker, moved)
        else:
            self._store.forget(self._broker, [id for id, _ in moved])

    def _send(self, message: DelayedMessage) -> None:
        # It may be sent twice where sending and forgetting are two steps.
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
        # Not queues[name]: it would add one it does not know to those this worker consumes from.
        self._producer.maybe_declare(queues[name] if name in queues else queues.new_missing(name))
        self._declared.add(name)

    def _connected(self) -> Any:
        # RabbitMQ's confirms: what is forgotten here must be safe there.
        connection = self._app.connection_for_write(transport_options={"confirm_publish": True})
        with connection._reraise_as_library_errors():
            channel = connection.channel()
        if self.atomic:
            self._note_pushes_of(channel)
        return self._app.amqp.Producer(channel, auto_declare=False)

    def _note_pushes_of(self, channel: Any) -> None:
        """Have the channel route and write messages as ever, but not push them: the store does, as it drops them."""
        put, prefix = channel._put, str(channel.global_keyprefix or "")

        def note(queue: str, message: Any, **options: Any) -> None:
            if queue in (getattr(channel, "_expires", None) or ()):
                put(queue, message, **options)  # an expiring queue, whose time is to be set anew with each message
                return
            key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
            self._pushes.append((prefix + key, dumps(message)))

        channel._put = note

    def disconnect(self) -> None:
        """Let go of the connection; the next message that is due makes another."""
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
