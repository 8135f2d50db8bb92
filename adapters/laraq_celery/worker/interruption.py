"""Interruption: notifies a running job that its worker was asked to stop (`Job.interrupted`; Laravel's
`Interruptible`).

The signal goes to the worker's parent, the job runs in a child. The parent writes the number of the signal into shared
memory and sends the child another signal.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from celery.worker import state

from laraq.jobs.job import Job, running
from laraq_celery.worker.request import JobRequest

logger = logging.getLogger("laraq")

#: The signal to the child. It is not sent where it has another use, such as Celery's `CELERY_RDBSIG`.
TO_CHILD = signal.SIGUSR2


class Interruption:
    """Notifies running jobs. Created by the worker's parent before the pool forks."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._number = mmap.mmap(-1, 1)

    def listen(self) -> None:
        """Install the handler in a new pool child."""
        if os.getpid() != self._parent and signal.getsignal(TO_CHILD) is signal.SIG_DFL:
            signal.signal(TO_CHILD, lambda signum, frame: _interrupt_running(self._number[0]))

    @property
    def number(self) -> int:
        """The number of the signal that asked the worker to stop; 0 before."""
        return self._number[0]

    def notify(self, number: int, in_parcels: Iterable[tuple[JobRequest, int | None]] = ()) -> None:
        """Notify every running job; called in the parent at the first signal that asks it to stop.

        `in_parcels`: those that Celery's records do not have yet, and their processes.
        """
        if self.number:
            return
        self._number[0] = number
        free = signal.getsignal(TO_CHILD) is signal.SIG_DFL
        running_here = {request: request.worker_pid for request in [*state.active_requests]}
        for request, pid in {**running_here, **dict(in_parcels)}.items():
            if not isinstance(request, JobRequest) or not _wants_to_know(request):
                continue
            if pid == self._parent:
                _interrupt_running(number)  # a solo pool: this is the job's own thread
            elif pid and free:
                with suppress(ProcessLookupError):
                    os.kill(pid, TO_CHILD)


def _wants_to_know(request: JobRequest) -> bool:
    """Whether the job defines `interrupted`: no other job is disturbed by a signal."""
    cls = request.task.job_class
    return cls is not None and cls.interrupted is not Job.interrupted


def _interrupt_running(number: int) -> None:
    job = running()
    if job is None:
        return
    try:
        job.interrupted(number)
    except Exception:  # it runs in the middle of `handle`, which goes on
        logger.exception("interrupted() of job %s[%s] raised", job.job_name(), job.id)
