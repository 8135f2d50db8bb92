"""Housekeeping: the run journal keeps nothing of what nobody will ask for, while workers live for months.

Any worker does it for all: old records and claims are dropped, whoever wrote them. What its own processes leave behind,
each worker erases itself, for it alone knows when their last messages are acknowledged.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import timedelta
from typing import Any

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq_kombu import Heartbeat

logger = logging.getLogger("laraq")

#: How long the record of a process that was killed is kept: longer than any broker keeps its messages to itself.
JOURNAL_KEPT = timedelta(days=7)

#: Seconds between looks for processes of this worker that are gone.
ERASE = 30.0

#: Seconds after its start within which a worker prunes for the first time, and about as many until each next time: at
#: random, for the workers of a fleet start together.
FIRST_PRUNE, PRUNE = 5.0, 3600.0


class Housekeeping(StartStopStep):
    """Not in the event loop: a store that is slow must not stop it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._laraq = parent.app.laraq
        self._heartbeat = Heartbeat(self._tidy_up, self._wait, quick=False)
        self._started = False
        self._prune_at = time.monotonic() + random.uniform(0, FIRST_PRUNE)  # noqa: S311 # no secret

    def start(self, consumer: Any) -> None:
        """Begin; a new connection goes on."""
        self._started = True
        self._heartbeat.attach()

    def stop(self, consumer: Any) -> None:
        """End with the connection."""
        if self._started:
            self._started = False
            self._heartbeat.detach()

    shutdown = stop

    def _wait(self) -> float:
        return min(max(self._prune_at - time.monotonic(), 0.0), ERASE)

    def _tidy_up(self) -> bool:
        if not self._started:
            return False
        laraq = self._laraq
        try:
            if laraq.host.acknowledged is not None:
                laraq.host.acknowledged.erase_gone(laraq.store.journal)
            if time.monotonic() >= self._prune_at:
                self._prune_at = time.monotonic() + PRUNE * random.uniform(0.5, 1.5)  # noqa: S311 # no secret
                laraq.store.journal.prune(JOURNAL_KEPT)
        except LaraqError as error:
            logger.warning("Old records of the run journal could not be removed, trying again: %s", error)
        return False
