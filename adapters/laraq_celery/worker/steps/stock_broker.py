"""StockBroker: what laraq adds to stock Redis and RabbitMQ: renewed leases, stored delays, and workers that survive
a Redis that refuses commands or restarts.

One log line at the start of the worker lists what is added, and what is not and why.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.stock.closed import raise_when_closed
from laraq_celery.stock.delays import Mover
from laraq_celery.stock.delays.address import knows_no_delay
from laraq_celery.stock.garbled import survive_garbled_messages
from laraq_celery.stock.leases import RedisLeases
from laraq_kombu import Heartbeat

logger = logging.getLogger("laraq")

#: Seconds between two tries of a worker on a Redis that refuses commands: READONLY, OOM, NOPERM.
HOLD_BACK = 3.0


class StockBroker(StartStopStep):
    """Runs RedisLeases and the Mover outside of the event loop, in which a solo pool runs its jobs."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._laraq = parent.app.laraq
        self._beating: list[Heartbeat] = []
        self._mover: Mover | None = None
        self._moving: Heartbeat | None = None
        self._logged = False
        #: Errors by which Redis refuses commands; Celery treats them as fatal errors of the worker.
        self._refusals: tuple[type[Exception], ...] = ()
        connection = parent.app.connection_for_read()
        if connection.transport.driver_type == "redis" and knows_no_delay(connection):
            self._refusals = tuple(connection.channel_errors)
            parent.connection_errors = (*parent.connection_errors, *self._refusals)

    def start(self, consumer: Any) -> None:
        """Start; called again for each new connection."""
        if not knows_no_delay(consumer.connection):
            return
        kept = [self._keep_leases(consumer), self._move_delayed(consumer)]
        if not self._logged:
            self._logged = True
            logger.info("On %s: %s", consumer.connection.as_uri(), "; ".join(filter(None, kept)))

    def stop(self, consumer: Any) -> None:
        """Stop with the connection; leases are renewed until no message is held."""
        self.shutdown(consumer)
        if isinstance(sys.exception(), self._refusals):
            time.sleep(HOLD_BACK)  # Celery, which handles the error, would reconnect at once

    def shutdown(self, consumer: Any) -> None:
        """Stop."""
        for heartbeat in self._beating:
            heartbeat.detach()
        self._beating = []

    def _keep_leases(self, consumer: Any) -> str:
        if consumer.connection.transport.driver_type != "redis":
            return ""
        survive_garbled_messages(str(consumer.app.conf.task_default_queue))
        channel, settings = consumer.task_consumer.channel, self._laraq.settings
        raise_when_closed(channel)
        if lacking := RedisLeases.lacking(channel):
            return f"leases are not renewed ({lacking})"
        ours = self._laraq.embedded or "retry_after" in settings.model_fields_set
        leases = RedisLeases(channel, settings.retry_after if ours else None)
        self._beat(Heartbeat(leases.beat, leases.wait))
        return (
            f"leases of {leases.timeout:g} s are renewed while this worker lives,"
            f" and messages of dead workers are looked for when a lease expires"
        )

    def _move_delayed(self, consumer: Any) -> str:
        delays = self._laraq.host.delays
        if delays.store is None:
            return f"delayed jobs wait in workers ({delays.lacking})"
        if self._mover is None or self._moving is None:
            # Once: it has its own connection, which two threads must not share.
            self._mover = Mover(consumer.app, delays, delays.store)
            self._moving = Heartbeat(self._mover.run, self._mover.wait, quick=False)
        self._beat(self._moving)
        how = "in the same Redis, moved atomically" if self._mover.atomic else self._laraq.store.label
        return f"jobs delayed by more than {delays.over:g} s wait in the store ({how})"

    def _beat(self, heartbeat: Heartbeat) -> None:
        heartbeat.attach()
        self._beating.append(heartbeat)
