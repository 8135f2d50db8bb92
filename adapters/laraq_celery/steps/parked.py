"""ParkedJobs: sends the parked jobs that nobody else would call.

A job that ends calls the next one itself. This is for windows that open, leases that end because their holder died, and
callers that died.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq.forks import busy

logger = logging.getLogger("laraq.parking")

#: Seconds after which a worker looks although it knows of nothing that would be due: other workers park, too.
LOOK = 10.0

#: Seconds after which a worker looks again when the store did not answer.
STORE_DOWN = 5.0

#: Seconds in which many jobs that are parked wake the thread once.
BREATH = 0.05


class ParkedJobs(StartStopStep):
    """A thread, since the solo pool runs jobs inside of the event loop, and a store that is down must not stop it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stopped: threading.Event | None = None

    def start(self, consumer: Any) -> None:
        """Look now, and then when something is due; a new connection begins anew."""
        self._stopped = threading.Event()
        lot = consumer.app.laraq.parking
        threading.Thread(target=_send_due, args=(lot, self._stopped), name="laraq-parked", daemon=True).start()

    def stop(self, consumer: Any) -> None:
        """End with the connection."""
        if self._stopped is not None:
            self._stopped.set()
            consumer.app.laraq.parking.changed.set()
            self._stopped = None

    shutdown = stop


def _send_due(lot: Any, stopped: threading.Event) -> None:
    said = ""
    while not stopped.is_set():
        lot.changed.clear()
        try:
            with busy:
                left = lot.send_due()
            said = ""
        except LaraqError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("Parked jobs wait longer: %s", said)
            left = STORE_DOWN
        if lot.changed.wait(LOOK if left is None else min(left, LOOK)):
            stopped.wait(BREATH)
