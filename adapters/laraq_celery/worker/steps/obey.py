"""Obey: a worker leaves queues alone while they are paused or the application is down, and ends for a restart.

The orders are read outside of the event loop, which a store that is down must not block; what was read last counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state
from celery.worker.control import control_command

from laraq import events
from laraq.errors import LaraqError
from laraq.events import Events
from laraq.messages.stop_reason import StopReason
from laraq.orders.board import Order
from laraq.orders.maintenance import is_down
from laraq.orders.pauses import is_paused
from laraq.orders.restarts import is_restarted
from laraq_celery.worker.arrival import CRASH
from laraq_celery.worker.ending import end
from laraq_celery.worker.mailbox import mailbox
from laraq_celery.worker.steps.install import LOOK_COMMAND
from laraq_celery.worker.task import consumed_connection
from laraq_kombu import Heartbeat

logger = logging.getLogger("laraq.orders")

#: Seconds between two looks at the orders of a worker that is told of changes by remote control, and of another one.
TOLD_LOOK, LOOK = 10.0, 1.0


class Obey(StartStopStep):
    """Cancels the consumer of a paused queue, and gives back what was prefetched from it and has not reached the pool.

    Celery declares the consumers anew after each lost connection, from `app.amqp.queues.consume_from`: what is
    cancelled here is deselected there, and stays so.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._laraq = parent.app.laraq
        self._forced = getattr(parent.app, "laraq_forced", False)
        self._read = self._laraq.orders.reader()
        self._orders: Mapping[str, Order] = {}
        #: Those of its first look; None before it succeeded.
        self._at_start: Mapping[str, Order] | None = None
        self._consumer: Any = None
        #: The queues of this worker, in the order in which it serves them.
        self._queues: dict[str, Any] = {}
        #: Those that it leaves alone.
        self._left: set[str] = set()
        #: Why the store did not answer, and when it did so last, in epoch seconds.
        self.error = ""
        self.answered_at = time.time()
        self._heartbeat = Heartbeat(self._look, self._wait, quick=False)
        take = parent.on_task_request
        # Before the strategies of the tasks take it from here.
        parent.on_task_request = lambda request: take(request) if self._may_start(request) else _give_back([request])

    def start(self, consumer: Any) -> None:
        """Obey before the first message is taken; called again for each new connection."""
        self._consumer = consumer
        consumer.laraq_obey = self
        self._look()
        self._obey(begun=False)
        self._heartbeat.attach()

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._consumer is not None:
            self._consumer = None
            self._heartbeat.detach()

    shutdown = stop

    def look_soon(self) -> None:
        """Orders have changed."""
        self._heartbeat.hurry()

    def _wait(self) -> float:
        ends = [one.ends_in for one in self._orders.values() if one.ends_in is not None]
        usual = TOLD_LOOK if mailbox(self._consumer) is not None and not self.error else LOOK
        return max(min([usual, *ends]), LOOK)

    def _look(self) -> bool:
        consumer = self._consumer
        if consumer is None:
            return False
        before = self._orders
        try:
            self._orders = self._read()
            self.error, self.answered_at = "", time.time()
            if self._at_start is None:
                self._at_start = self._orders
        except LaraqError as error:
            if str(error) != self.error:
                self.error = str(error)
                logger.warning("Pauses and other orders could not be looked up, the last ones count: %s", error)
        if self._orders is not before:
            consumer.call_soon(self._obey)
        return False

    def _obey(self, begun: bool = True) -> None:
        """Called in the event loop; not `begun` before the consumer takes messages."""
        consumer = self._consumer
        if consumer is None or consumer.task_consumer is None:
            return
        if is_restarted(self._at_start or {}, self._orders):
            logger.info("A restart is ordered: this worker finishes its running jobs and exits")
            end(consumer, StopReason.RESTART)
            return
        consumed = dict(consumer.app.amqp.queues.consume_from)
        self._queues |= consumed
        paused = {name for name in self._queues if self._is_paused(name)}
        for name in consumed.keys() & paused:
            logger.info("Queue %s is paused", name)
            Events.emit(events.WorkerQueuePaused, consumer.hostname, consumed_connection(self._laraq), name)
            consumer.cancel_task_queue(name)
        if begun and paused:
            if (parcels := self._laraq.host.parcels) is not None:
                parcels.open_all()
            self._give_back_waiting(consumer)
        if resumed := [name for name in self._left - paused if name not in consumed]:
            logger.info("Queue %s goes on", " and ".join(resumed))
            _take_up(consumer, resumed, self._queues, begun)
            for name in resumed:
                Events.emit(events.WorkerQueueResumed, consumer.hostname, consumed_connection(self._laraq), name)
        self._left = (self._left | consumed.keys()) & paused

    def _is_paused(self, queue: str) -> bool:
        down = is_down(self._orders) and not self._forced
        return down or is_paused(self._orders, consumed_connection(self._laraq), queue)

    def _may_start(self, request: Any) -> bool:
        if not self._orders or CRASH in getattr(request, "request_dict", ()):
            return True  # what settles a run that died begins nothing
        key = (request.delivery_info or {}).get("routing_key")
        names = [name for name, queue in [*self._queues.items()] if key in (name, queue.routing_key)]
        return not any(map(self._is_paused, names))

    def _give_back_waiting(self, consumer: Any) -> None:
        """Give back the messages that wait for a process of the pool; other pools have taken theirs already."""
        waiting: Any = getattr(getattr(consumer.controller, "semaphore", None), "_waiting", ())
        back = [entry for entry in waiting if entry[1] and not self._may_start(entry[1][0])]
        for entry in back:
            waiting.remove(entry)
        _give_back([entry[1][0] for entry in back])


@control_command(name=LOOK_COMMAND)
def look(state: Any) -> None:
    """Look at laraq's orders now: pauses, a restart, maintenance."""
    if (obey := getattr(state.consumer, "laraq_obey", None)) is not None:
        obey.look_soon()


def _give_back(requests: Sequence[Any]) -> None:
    """Put messages back into their queue, their attempts unused."""
    leased: dict[Any, list[str]] = {}
    for request in requests:
        message = request.message
        state.task_ready(request)
        qos = getattr(message.channel, "qos", None)
        if message.acknowledged:
            continue
        if hasattr(qos, "give_back"):
            leased.setdefault(qos, []).append(message.delivery_tag)
        else:
            message.requeue()
    for qos, tags in leased.items():
        qos.give_back(tags)


def _take_up(consumer: Any, names: Collection[str], order: Collection[str], begun: bool) -> None:
    """Consume these queues again, and all in their order, which is their priority."""
    queues, consumers = consumer.app.amqp.queues, consumer.task_consumer
    for name in names:
        consumers.add_queue(queues.select_add(queues[name]))
    for each in (queues.consume_from, consumers._queues):
        each.update({name: each.pop(name) for name in order if name in each})
    if begun:
        consumers.cancel()
        consumers.consume()
