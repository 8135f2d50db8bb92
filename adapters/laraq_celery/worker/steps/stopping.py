"""Stopping: the event of a worker that ends by itself: its work is done, its connection is lost, or it cannot go on."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep


class Stopping(StartStopStep):
    """Emits `laraq.events.WorkerStopping` before the pool ends, unless a signal has done so."""

    def close(self, worker: Any) -> None:
        """The first that Celery does to end a worker, for whatever reason."""
        worker.app.laraq.host.notify_stopping(str(worker.hostname))
