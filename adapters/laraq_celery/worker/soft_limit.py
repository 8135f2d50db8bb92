"""The soft time limit in a pool child: JobTimedOutError in a job, Celery's own exception in an ordinary task."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from billiard.pool import soft_timeout_sighandler

from laraq.errors import JobTimedOutError
from laraq.jobs.job import running
from laraq.process import aio

#: The number of deliveries in progress in this process's main thread: more than one if jobs run other jobs.
_under_way = 0


@contextmanager
def for_jobs() -> Iterator[None]:
    """Wraps a delivery of a job. Its limit interrupts only the job, not the bookkeeping before and after it: a job that
    is half settled would be lost. Bookkeeping that hangs meets the hard limit.

    The signal is taken over here because billiard sets it up after every hook that Celery offers in a new child.
    """
    global _under_way
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGUSR1) is soft_timeout_sighandler:
        signal.signal(signal.SIGUSR1, _on_soft_limit)
    _under_way += 1
    try:
        yield
    finally:
        _under_way -= 1


def _on_soft_limit(signum: int, frame: Any) -> None:
    job = running()
    if job is None:
        if not _under_way:
            soft_timeout_sighandler(signum, frame)
        return
    error = JobTimedOutError(f"{job.job_name()} has timed out.", job=job.job_name(), job_id=job.id)
    if not aio.interrupt(error):
        raise error
