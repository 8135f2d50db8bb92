"""AnswerSignals: only the parent answers signals to all processes of a worker (group_signals.py)."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep


class AnswerSignals(StartStopStep):
    """Wraps the worker's signal handlers and its pool."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)

    def start(self, worker: Any) -> None:
        """Start when Celery has set its handlers and the pool exists, before the consumer, which brings work."""
        group_signals = worker.app.laraq.host.group_signals
        group_signals.answer()
        if hasattr(getattr(worker.pool, "_pool", None), "_create_worker_process"):
            group_signals.follow(worker.pool)

    def close(self, worker: Any) -> None:
        """Note that the worker stops, by a signal or not."""
        worker.app.laraq.host.group_signals.stop()
