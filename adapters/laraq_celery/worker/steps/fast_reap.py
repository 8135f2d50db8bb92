"""FastReap: notices a lost pool child at once.

Celery 5.7 (`concurrency.asynpool: AsynPool._event_process_exit`) checks for dead children once, before the dead one can
be reaped, and then again only after 5 seconds.
"""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

#: Seconds until the next check, doubled each time.
FIRST_LOOK, LOOKS = 0.02, 6


class FastReap(StartStopStep):
    """Checks again shortly after a child's sentinel fired; does nothing for pools without children."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Wrap the pool's handler of a child's end."""
        pool = getattr(worker.pool, "_pool", None)
        reap = getattr(pool, "_event_process_exit", None)
        if pool is None or reap is None:
            return

        def look(left: int, wait: float) -> None:
            pool.maintain_pool()
            if left:
                hub.call_later(wait, look, left - 1, wait * 2)

        def event_process_exit(*args: Any) -> None:
            reap(*args)
            hub.call_later(FIRST_LOOK, look, LOOKS, FIRST_LOOK)

        pool._event_process_exit = event_process_exit
