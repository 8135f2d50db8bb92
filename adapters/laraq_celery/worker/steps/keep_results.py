"""KeepResults: a process pool keeps the results of running jobs when the connection is lost.

Celery before 5.6 (`concurrency.asynpool: AsynPool.flush`) clears the pool's records then. The job goes on, but its end
is not seen: its redelivered message, which waits for it (strategy.py), would never be acknowledged.
"""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_kombu import running


class KeepResults(StartStopStep):
    """Wraps the pool's `flush`; does nothing for pools without one."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)

    def start(self, worker: Any) -> None:
        """Start when the pool exists, before the consumer, which flushes it."""
        flush = getattr(worker.pool, "flush", None)
        if flush is None:
            return

        def flush_and_remember() -> None:
            running.hold_results(getattr(worker.pool, "_pool", None))
            flush()
            running.await_results()

        worker.pool.flush = flush_and_remember
