"""The soft time limit inside a pool child: JobTimedOutError in a job, Celery's own exception in an ordinary task."""

from __future__ import annotations

import signal
import threading
from typing import Any

from billiard.pool import soft_timeout_sighandler

from laraq import aio
from laraq.errors import JobTimedOutError
from laraq.job import running


def arm() -> None:
    """Take the signal over where billiard set it up, which is after every hook Celery offers to a new child."""
    if signal.getsignal(signal.SIGUSR1) is soft_timeout_sighandler and _in_main_thread():
        signal.signal(signal.SIGUSR1, _on_soft_limit)


def _on_soft_limit(signum: int, frame: Any) -> None:
    job = running()
    if job is None:
        soft_timeout_sighandler(signum, frame)
        return
    error = JobTimedOutError(f"{job.job_name()} has timed out.", job=job.job_name(), job_id=job.id)
    if not aio.interrupt(error):
        raise error


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
