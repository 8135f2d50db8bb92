"""Reconcile: any worker finishes batches whose last step was lost."""

from __future__ import annotations

import logging
import random
from typing import Any

from celery.bootsteps import StartStopStep

from laraq.errors import LaraqError
from laraq.workflow.batch_service import OVERDUE_SECONDS

logger = logging.getLogger("laraq.batches")


class Reconcile(StartStopStep):
    """Checks batches from the worker's timer; several workers may do this at once."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        """Check soon, then every half minute, not at the same time as other workers."""
        self._entry = consumer.timer.call_after(random.uniform(1, 5), self._look, (consumer,))  # noqa: S311 # no secret

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    shutdown = stop

    def _look(self, consumer: Any) -> None:
        try:
            consumer.app.laraq.batches.reconcile()
        except LaraqError as error:
            logger.warning("Unfinished batches could not be checked, trying again: %s", error)
        pause = OVERDUE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 # no secret
        self._entry = consumer.timer.call_after(pause, self._look, (consumer,))
