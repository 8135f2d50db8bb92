"""The soft time limit in a pool child: JobTimedOutError in a job, Celery's own exception in an ordinary task."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from laraq.errors import JobTimedOutError
from laraq.jobs.job import running
from laraq.process import aio

#: The number of deliveries in progress in this process's main thread: more than one if jobs run other jobs.
_under_way = 0


#: The process whose signal is taken over.
_taken_over_in = 0


class ForJobs:
    """Wraps a delivery of a job. Its limit interrupts only the job, not the bookkeeping before and after it: a job that
    is half settled would be lost. Bookkeeping that hangs meets the hard limit.

    The signal is taken over here because billiard sets it up after every hook that Celery offers in a new child.
    """

    def __enter__(self) -> None:
        global _under_way
        self._counts = threading.current_thread() is threading.main_thread()
        if not self._counts:
            return
        if _taken_over_in != os.getpid():
            _take_over()
        _under_way += 1

    def __exit__(self, *_: Any) -> None:
        global _under_way
        if self._counts:
            _under_way -= 1


def _take_over() -> None:
    global _taken_over_in
    from billiard.pool import soft_timeout_sighandler  # late: a process that only sends needs no pool

    if signal.getsignal(signal.SIGUSR1) is soft_timeout_sighandler:
        signal.signal(signal.SIGUSR1, _on_soft_limit)
        _taken_over_in = os.getpid()


def _on_soft_limit(signum: int, frame: Any) -> None:
    job = running()
    if job is None:
        if not _under_way:
            from billiard.pool import soft_timeout_sighandler

            soft_timeout_sighandler(signum, frame)
        return
    error = JobTimedOutError(f"{job.job_name()} has timed out.", job=job.job_name(), job_id=job.id)
    if not aio.interrupt(error):
        raise error
