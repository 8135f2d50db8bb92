"""StopWhen: --once, --max-jobs, --max-time, --memory and --stop-when-empty of `laraq work`.

The command sets them as `app.laraq_stop_when`; those that it does not give are the settings `laraq_worker_...`, which
also count for a worker that was started otherwise.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, fields
from types import MethodType
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state

from laraq.errors import LaraqError
from laraq.messages.inspection import QueueState
from laraq.messages.stop_reason import StopReason
from laraq_celery.stock.inspection import browser_of
from laraq_celery.worker.ending import end
from laraq_celery.worker.memory import memory
from laraq_kombu import running

#: Seconds between checks.
CHECK = 0.1

#: Seconds between two looks at the memory.
LOOK = 1.0

#: The exit status of a worker that stops for its memory (Illuminate/Queue/Worker.php).
MEMORY_STATUS = 12


@dataclass(frozen=True, slots=True)
class StopRules:
    """The conditions under which a worker stops; 0 is none."""

    max_jobs: int = 0
    when_empty: bool = False
    #: Seconds without a job, until the queues are asked.
    when_empty_for: float = 0
    #: Seconds since it began to consume.
    max_time: float = 0
    #: Bytes of one process.
    memory: int = 0

    def reason(self, *, memory: int, idle: bool, empty: bool, lived: float, taken: int) -> StopReason | None:
        """Why to stop now, if at all. `idle`: it has nothing to do; `empty`: nor has it for as long as the rules say.

        (Illuminate/Queue/Worker.php: stopIfNecessary, in its order.)
        """
        if self.memory and memory >= self.memory:
            return StopReason.MEMORY
        if empty:
            return StopReason.EMPTY
        if self.max_time and lived >= self.max_time:
            return StopReason.MAX_TIME
        if self.max_jobs and idle and taken >= self.max_jobs:
            return StopReason.MAX_JOBS
        return None

    def or_else(self, others: StopRules) -> StopRules:
        """These rules, and of the others what these leave open."""
        return StopRules(*(getattr(self, each.name) or getattr(others, each.name) for each in fields(self)))

    def asks(self, idle_for: float | None) -> bool:
        """Whether to ask if the queues are empty, of a worker that is idle for so many seconds; None: it is busy."""
        if idle_for is None:
            return False
        return self.when_empty or (self.when_empty_for > 0 and idle_for >= self.when_empty_for)


class StopWhen(StartStopStep):
    """Takes no more messages than allowed, and ends the worker when the rules hold."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._rules = _rules(parent.app)
        self._taken = 0
        self._began: float | None = None
        #: Monotonic seconds.
        self._idle_since: float | None = None
        #: How often in a row it was idle and its queues were empty.
        self._empty_looks = 0
        self._memory, self._memory_at = 0, 0.0
        self._entry: Any = None
        if self._rules.max_jobs:
            parent.initial_prefetch_count = min(parent.initial_prefetch_count, self._rules.max_jobs)

    def include_if(self, parent: Any) -> bool:
        """Only if there is a rule."""
        return _rules(parent.app) != StopRules()

    def start(self, consumer: Any) -> None:
        """Count received messages, and check the rules from the timer."""
        rules, channel = self._rules, consumer.task_consumer.channel
        if self._began is None:
            self._began = time.monotonic()
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
        rules, now = self._rules, time.monotonic()
        assert self._began is not None
        idle = not (state.reserved_requests or state.active_requests)
        self._idle_since = None if not idle else self._idle_since or now
        asks = rules.asks(None if self._idle_since is None else now - self._idle_since)
        # Twice in a row: a job that was released just now must be seen.
        self._empty_looks = self._empty_looks + 1 if asks and self._empty(consumer) else 0
        if rules.memory and now >= self._memory_at:
            self._memory, self._memory_at = memory(consumer.pool), now + LOOK
        reason = rules.reason(
            memory=self._memory,
            idle=idle,
            empty=self._empty_looks >= 2,
            lived=now - self._began,
            taken=self._taken,
        )
        if reason is not None:
            end(consumer, reason, MEMORY_STATUS if reason is StopReason.MEMORY else 0)

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


def _rules(app: Any) -> StopRules:
    settings = app.laraq.settings
    configured = StopRules(
        max_jobs=settings.worker_max_jobs,
        max_time=settings.worker_max_time,
        memory=int(settings.worker_memory * 2**20),
    )
    given: StopRules = getattr(app, "laraq_stop_when", StopRules())
    return given.or_else(configured)
