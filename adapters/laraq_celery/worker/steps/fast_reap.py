"""FastReap: notices a lost pool child at once, and reads what it said last.

Celery 5.7 (`concurrency.asynpool: AsynPool._event_process_exit`) checks for dead children once, before the dead one can
be reaped, and then again only after 5 seconds.

When several die at once, it hands the job of one that it has not reaped yet to another child (`on_job_process_down`)
because it has not read that the job had begun: the same start would happen twice.
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
        if pool is None or reap is None or getattr(reap, "__module__", "") == __name__:
            return  # no children; or it is done already, and the connection was lost since

        def look(left: int, wait: float) -> None:
            pool.maintain_pool()
            if left:
                hub.call_later(wait, look, left - 1, wait * 2)

        def event_process_exit(*args: Any) -> None:
            reap(*args)
            hub.call_later(FIRST_LOOK, look, LOOKS, FIRST_LOOK)

        pool._event_process_exit = event_process_exit
        down = pool.on_job_process_down

        def on_job_process_down(job: Any, pid: int) -> None:
            process = job._write_to or job._scheduled_for
            if process is not None and not job._accepted and not process._is_alive():
                pool.process_flush_queues(process)
                if job._accepted:
                    return  # its process is reaped next, and the job is settled as lost
            down(job, pid)

        pool.on_job_process_down = on_job_process_down
