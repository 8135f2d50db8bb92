"""The soft time limit inside a pool child: JobTimedOutError in a job, Celery's own exception in an ordinary task."""

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

#: How many deliveries of jobs are under way in this process's main thread: one, or more where jobs run in jobs.
_under_way = 0


@contextmanager
def for_jobs() -> Iterator[None]:
    """Around a delivery of a job. Its limit strikes the job alone: the books that are kept before and after it are let
    be, for a half-kept book is a lost job, and what hangs there meets the hard limit.

    The signal is taken over where billiard set it up, which is after every hook Celery offers to a new child.
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
