"""KeepResults: what a process pool runs is not forgotten with a lost connection.

Celery before 5.6 (`concurrency.asynpool: AsynPool.flush`) clears the pool's books then. The job goes on, but its end is
not seen: its message, which came again and waits for it (strategy.py), would be acknowledged by nobody.
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
        """The pool is there; the consumer, which will flush it, is not yet."""
        flush = getattr(worker.pool, "flush", None)
        if flush is None:
            return

        def flush_and_remember() -> None:
            running.hold_results(getattr(worker.pool, "_pool", None))
            flush()
            running.await_results()

        worker.pool.flush = flush_and_remember
