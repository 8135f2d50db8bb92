"""Housekeeping: the run journal keeps nothing of what nobody will ask for, while workers live for months.

Any worker does it for all: old records and claims are dropped, whoever wrote them. What its own processes leave behind,
each worker erases itself, for it alone knows when their last messages are acknowledged.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import timedelta
from typing import Any

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq.forks import busy

logger = logging.getLogger("laraq")

#: How long the record of a process that was killed is kept: longer than any broker keeps its messages to itself.
JOURNAL_KEPT = timedelta(days=7)

#: Seconds between looks for processes of this worker that are gone.
ERASE = 30.0

#: Seconds after its start within which a worker prunes for the first time, and about as many until each next time: at
#: random, for the workers of a fleet start together.
FIRST_PRUNE, PRUNE = 5.0, 3600.0


class Housekeeping(StartStopStep):
    """A thread, since a solo pool runs jobs inside of the event loop, and a store that is slow must not stop it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stopped: threading.Event | None = None
        self._prune_at = time.monotonic() + random.uniform(0, FIRST_PRUNE)  # noqa: S311 # no secret

    def start(self, consumer: Any) -> None:
        """Begin; a new connection goes on."""
        self._stopped = threading.Event()
        arguments = (consumer.app.laraq, self._stopped)
        threading.Thread(target=self._work, args=arguments, name="laraq-housekeeping", daemon=True).start()

    def stop(self, consumer: Any) -> None:
        """End with the connection."""
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    shutdown = stop

    def _work(self, laraq: Any, stopped: threading.Event) -> None:
        while not stopped.wait(min(max(self._prune_at - time.monotonic(), 0.0), ERASE)):
            try:
                with busy:
                    if laraq.host.acknowledged is not None:
                        laraq.host.acknowledged.erase_gone(laraq.store.journal)
                    if time.monotonic() >= self._prune_at:
                        self._prune_at = time.monotonic() + PRUNE * random.uniform(0.5, 1.5)  # noqa: S311 # no secret
                        laraq.store.journal.prune(JOURNAL_KEPT)
            except LaraqError as error:
                logger.warning("The run journal was not tidied up, trying again: %s", error)
