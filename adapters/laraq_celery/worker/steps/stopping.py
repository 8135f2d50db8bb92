"""Stopping: the event of a worker that ends by itself: its work is done, its connection is lost, or it cannot go on."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep
from celery.platforms import EX_FAILURE

from laraq.messages.stop_reason import StopReason


class Stopping(StartStopStep):
    """Emits `laraq.events.WorkerStopping` before the pool ends, unless a signal has done so."""

    def close(self, worker: Any) -> None:
        """The first that Celery does to end a worker, for whatever reason."""
        status = worker.exitcode or 0
        reason = StopReason.ERROR if status == EX_FAILURE else StopReason.INTERRUPTED
        worker.app.laraq.host.notify_stopping(str(worker.hostname), reason, int(status))
