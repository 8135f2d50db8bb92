"""StopWhen: --once, --max-jobs and --stop-when-empty of `laraq work`.

Set as `app.laraq_stop_when` by the command; a worker started otherwise never stops by itself.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import MethodType
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state

from laraq.errors import LaraqError
from laraq.messages.inspection import QueueState
from laraq_celery.stock.inspection import browser_of
from laraq_kombu import running

#: Seconds between checks.
CHECK = 0.1


@dataclass(frozen=True, slots=True)
class StopRules:
    """The conditions under which a worker stops."""

    max_jobs: int = 0
    when_empty: bool = False


class StopWhen(StartStopStep):
    """Takes no more messages than allowed, and requests a warm shutdown of Celery when the rules hold."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._rules: StopRules | None = getattr(parent.app, "laraq_stop_when", None)
        self._taken = 0
        self._idle = 0
        self._entry: Any = None
        if self._rules and self._rules.max_jobs:
            parent.initial_prefetch_count = min(parent.initial_prefetch_count, self._rules.max_jobs)

    def include_if(self, parent: Any) -> bool:
        """Only for `laraq work` with one of its options."""
        return getattr(parent.app, "laraq_stop_when", None) is not None

    def start(self, consumer: Any) -> None:
        """Count received messages, and check the rules from the timer."""
        rules, channel = self._rules, consumer.task_consumer.channel
        assert rules is not None
        if rules.max_jobs:
            self._limit(consumer, channel, rules.max_jobs)
        self._entry = consumer.timer.call_repeatedly(CHECK, self._check, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    shutdown = stop

    def _limit(self, consumer: Any, channel: Any, most: int) -> None:
        make = consumer.create_task_handler

        def create_task_handler(*args: Any, **kwargs: Any) -> Any:
            receive = make(*args, **kwargs)

            def on_task_received(message: Any) -> Any:
                if self._taken >= most:
                    running.left_alone(message.delivery_tag)
                    return None  # already received: unacknowledged, it is requeued when the connection closes
                self._taken += 1
                if self._taken == most:
                    consumer.call_soon(consumer.task_consumer.cancel)
                return receive(message)

            return on_task_received

        consumer.create_task_handler = create_task_handler
        qos: Any = getattr(channel, "qos", None)
        can_consume = getattr(qos, "can_consume", None)
        if can_consume is not None:
            # Virtual transports fetch while they have credit: do not even fetch one message too many.
            qos.can_consume = MethodType(lambda _: self._taken < most and can_consume(), qos)

    def _check(self, consumer: Any) -> None:
        rules = self._rules
        assert rules is not None
        if state.reserved_requests or state.active_requests or state.total_count is None:
            self._idle = 0
            return
        if rules.max_jobs and self._taken >= rules.max_jobs:
            state.should_stop = 0
        elif rules.when_empty and self._empty(consumer):
            # Twice in a row: a job that was released just now must be seen.
            self._idle += 1
            if self._idle >= 2:
                state.should_stop = 0
        else:
            self._idle = 0

    def _empty(self, consumer: Any) -> bool:
        """Whether the queues hold no job that could start now, read over a separate connection.

        Delayed jobs, and those of other workers, do not count, as in Laravel; delayed jobs in this worker are requeued
        with their attempts unused. Due jobs in the store are first sent to their queues.
        """
        laraq = consumer.app.laraq
        if laraq.host.delays.store is not None and not laraq.host.delays.moved:
            return False
        with suppress(LaraqError):  # if the store is down, parked jobs stay there
            laraq.parking.send_due()
        with consumer.app.connection_for_read() as connection:
            browser = browser_of(connection.default_channel, connection.transport.driver_type)
            queues = consumer.app.amqp.queues.consume_from
            return all(browser.count(name, QueueState.PENDING) == 0 for name in queues)
