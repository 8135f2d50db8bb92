"""HealthFile: writes what `laraq health` reads, once a second, from the event loop."""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Literal

from celery.bootsteps import StartStopStep

from laraq.process.health import Health
from laraq_celery.worker.ending import is_ending

logger = logging.getLogger("laraq.health")

#: Seconds between two writes.
INTERVAL = 1.0


class HealthFile(StartStopStep):
    """Only if `laraq_health_file` is set.

    The timer of some pools is a thread: it asks the loop to write, so that a loop that hangs is seen.
    """

    requires = ("celery.worker.consumer.tasks:Tasks", "laraq_celery.worker.steps.obey:Obey")

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._path: str | None = parent.app.laraq.settings.health_file
        self._entry: Any = None
        self._asked = False
        self._missing_since: float | None = None
        self._error = ""
        if self._path:  # Celery makes a step before it asks whether to include it
            self._write(parent, "starting")

    def include_if(self, parent: Any) -> bool:
        """Only if it is asked for."""
        return bool(parent.app.laraq.settings.health_file)

    def start(self, consumer: Any) -> None:
        """Start; called again for each new connection."""
        self._asked = False
        self._write(consumer, "running")
        self._entry = consumer.timer.call_repeatedly(INTERVAL, self._ask, (consumer,))

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker ends."""
        if self._entry is None:
            return
        self._entry.cancel()
        self._entry = None
        self._write(consumer, "stopping" if is_ending() else "reconnecting")

    shutdown = stop

    def _ask(self, consumer: Any) -> None:
        if not self._asked:
            self._asked = True
            consumer.call_soon(self._turn, consumer)

    def _turn(self, consumer: Any) -> None:
        self._asked = False
        if self._entry is not None:
            self._write(consumer, "running")

    def _write(self, consumer: Any, state: Literal["starting", "running", "reconnecting", "stopping"]) -> None:
        assert self._path is not None
        now = time.time()
        living, wanted = _children(consumer.pool)
        self._missing_since = None if living >= wanted else self._missing_since or now
        obey = getattr(consumer, "laraq_obey", None)
        health = Health(
            worker=str(consumer.hostname),
            pid=os.getpid(),
            state=state,
            at=now,
            children=living,
            children_wanted=wanted,
            children_missing_since=self._missing_since,
            store_at=None if obey is None else obey.answered_at,
            store_error="" if obey is None else obey.error,
        )
        try:
            health.write(self._path)
            self._error = ""
        except OSError as error:
            if str(error) != self._error:
                self._error = str(error)
                logger.error("The health file cannot be written: %s", error)


def _children(pool: Any) -> tuple[int, int]:
    """How many processes of the pool live, and how many there should be."""
    inner = getattr(pool, "_pool", None)
    processes, wanted = getattr(inner, "_pool", None), getattr(inner, "_processes", None)
    if not isinstance(processes, list) or not isinstance(wanted, int):
        return 0, 0
    return sum(bool(process._is_alive()) for process in processes), wanted
