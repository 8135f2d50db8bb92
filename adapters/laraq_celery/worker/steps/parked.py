"""ParkedJobs: sends the parked jobs that no ending job wakes.

A job that ends wakes the next one itself. This step is for windows that open, leases that expire because their owner
died, and processes that died while they woke a job.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq_kombu import Heartbeat

logger = logging.getLogger("laraq.parking")

#: Seconds after which a worker checks although it knows of no due job: other workers also park jobs, and die.
LOOK, NOBODY_WAITS = 10.0, 30.0

#: Seconds after which a worker checks again when the store did not answer.
STORE_DOWN = 5.0

#: Seconds in which many parked jobs cause only one check.
BREATH = 0.05


class ParkedJobs(StartStopStep):
    """Runs outside of the event loop, which a store that is down must not block."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._laraq = parent.app.laraq
        self._heartbeat = Heartbeat(self._look, lambda: self._wait, quick=False)
        self._started = False
        self._wait = 0.0
        self._error = ""

    def start(self, consumer: Any) -> None:
        """Check now, and then whenever a job is due; called again for each new connection."""
        self._laraq.parking.changed = partial(self._heartbeat.hurry, BREATH)
        self._started, self._wait = True, 0.0
        self._heartbeat.attach()

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._started:
            self._started = False
            self._heartbeat.detach()

    shutdown = stop

    def _look(self) -> bool:
        if not self._started:
            return False
        try:
            left = self._laraq.parking.send_due()
            self._error = ""
        except LaraqError as error:
            if str(error) != self._error:
                self._error = str(error)
                logger.warning("Parked jobs could not be looked up, trying again: %s", error)
            left = STORE_DOWN
        self._wait = NOBODY_WAITS if left is None else min(left, LOOK)
        return False
