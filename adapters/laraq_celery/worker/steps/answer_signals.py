"""AnswerSignals: signals to all processes of a worker are its parent's to answer (group_signals.py)."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep


class AnswerSignals(StartStopStep):
    """Follows what the worker's signal handlers and its pool do."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)

    def start(self, worker: Any) -> None:
        """Celery has set its handlers and the pool is there; the consumer, which brings work, is not yet."""
        group_signals = worker.app.laraq.host.group_signals
        group_signals.answer()
        if hasattr(getattr(worker.pool, "_pool", None), "_create_worker_process"):
            group_signals.follow(worker.pool)

    def close(self, worker: Any) -> None:
        """The worker stops, by a signal or not."""
        worker.app.laraq.host.group_signals.stop()
