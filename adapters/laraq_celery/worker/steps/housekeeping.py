"""Housekeeping: removes records that are no longer needed, as workers may live for months.

Any worker removes old records of failed jobs, batches and the run journal, whichever worker wrote them; only one of
them at a time, and about once an hour. Each worker itself erases the records of its own
ended processes, because only it knows when their last messages are acknowledged.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq_kombu import Heartbeat

if TYPE_CHECKING:
    from laraq.app import Laraq

logger = logging.getLogger("laraq")

#: How long the record of a killed process is kept: longer than any broker holds its messages back.
JOURNAL_KEPT = timedelta(days=7)

#: Seconds between checks for ended processes of this worker.
ERASE = 30.0

#: Seconds after its start within which a worker prunes for the first time, and about the interval afterwards: random,
#: because the workers of a fleet start together.
FIRST_PRUNE, PRUNE = 5.0, 3600.0

#: The lock of the worker that prunes.
LEADER = "laraq:prune"


class Housekeeping(StartStopStep):
    """Runs outside of the event loop, which a slow store must not block."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._laraq = parent.app.laraq
        self._heartbeat = Heartbeat(self._tidy_up, self._wait, quick=False)
        self._started = False
        self._prune_at = time.monotonic() + random.uniform(0, FIRST_PRUNE)  # noqa: S311 # no secret

    def start(self, consumer: Any) -> None:
        """Start; a new connection continues."""
        self._started = True
        self._heartbeat.attach()

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
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
                _prune(laraq)
        except LaraqError as error:
            logger.warning("Old records could not be removed, trying again: %s", error)
        return False


def _prune(laraq: Laraq) -> None:
    """Prune, unless another worker has within half the interval: it holds the lock until then."""
    if not laraq.store.locks.acquire(LEADER, uuid4().hex, PRUNE / 2):
        return
    laraq.store.journal.prune(JOURNAL_KEPT)
    settings = laraq.settings
    if (hours := settings.prune_failed_after) is not None and (count := laraq.failed.prune(hours)):
        logger.info("Dropped %d failed job(s) older than %g hours", count, hours)
    if (hours := settings.prune_batches_after) is not None:
        count = laraq.batches.prune(datetime.now(UTC) - timedelta(hours=hours))
        if count:
            logger.info("Dropped %d batch(es) that finished more than %g hours ago", count, hours)
