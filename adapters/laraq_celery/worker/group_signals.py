"""GroupSignals: only the parent answers a signal to all processes of a worker; no pool child dies of it.

systemd (`KillMode=control-group`), Supervisor (`stopasgroup`), dumb-init, terminals and `kill -- -<group>` signal the
children, too. With billiard they die at once, in the middle of jobs that their parent wants to let finish. Here a child
dies of a signal if its parent has set this in shared memory, and in case of doubt: if its parent is gone, or has not
been asked to stop.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from billiard import pool as billiard_pool

from laraq_celery.worker.interruption import Interruption

#: The signals that end a worker; its children ignore SIGINT anyway.
STOPPING = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGQUIT", "SIGHUP", "SIGINT") if name in signal.Signals.__members__
)

#: Seconds that the parent may take to receive a signal that its child has received.
PATIENCE = 3.0

#: Seconds between two checks.
LOOK = 0.005


class GroupSignals:
    """Answers group signals. Created by the worker's parent before the pool forks."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption
        self._parent = self._child = os.getpid()
        #: A byte for each process id: whether the parent ends that child. Pages exist once they are written to.
        self._ends = mmap.mmap(-1, _process_ids())
        #: In a child: billiard's handlers, by signal.
        self._deadly: dict[int, Callable[..., Any]] = {}

    # -- in the parent ------------------------------------------------------------------------------------------

    def answer(self) -> None:
        """Wrap Celery's signal handlers, so that the children first learn that this worker was asked to stop.

        With soft shutdown, a cold shutdown waits in its handler for the running jobs.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # an embedded worker, which gets no signals
        for number in STOPPING:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._answer, handler))

    def stop(self) -> None:
        """Note that the worker stops, by a signal, a remote command or a user's own handler."""
        self._interruption.notify(signal.SIGTERM)

    def follow(self, pool: Any) -> None:
        """Note it before this pool ends a child."""
        pool.terminate_job = partial(self._terminate_job, pool.terminate_job)
        processes = pool._pool
        create = processes._create_worker_process

        def create_worker_process(*args: Any) -> Any:
            process = create(*args)
            self._follow(process)
            return process

        processes._create_worker_process = create_worker_process
        for process in processes._pool:
            self._follow(process)

    def _answer(self, handler: Callable[..., Any], number: int, frame: FrameType | None) -> None:
        try:
            if os.getpid() == self._parent:  # not in a child that is just starting
                self._interruption.notify(number)
        finally:
            handler(number, frame)

    def _follow(self, process: Any) -> None:
        popen = process._popen
        if popen is not None:
            popen.terminate = partial(self._terminate, popen.pid, popen.terminate)

    def _terminate(self, pid: int, terminate: Callable[[], Any]) -> None:
        self._ends[pid] = 1
        terminate()

    def _terminate_job(self, terminate_job: Callable[..., Any], pid: int, number: int | None = None) -> None:
        """Handle `revoke(terminate=True)`, and Celery's cancellation at a cold shutdown or a lost connection."""
        if number is None or number in STOPPING:
            self._ends[pid] = 1
        terminate_job(pid, number)

    # -- in a child ---------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take over the signals in a new pool child, from `worker_process_init` on."""
        if os.getpid() == self._parent:
            return
        self._child = os.getpid()
        self._ends[self._child] = 0  # another process may have had this id
        # billiard sets its handlers after Celery's last hook.
        stock = billiard_pool.reset_signals

        def reset_signals(*args: Any, **options: Any) -> None:
            stock(*args, **options)
            for number in STOPPING:
                if callable(handler := signal.getsignal(number)):
                    self._deadly[number] = handler
                    signal.signal(number, self._heard)

        billiard_pool.reset_signals = reset_signals

    def leave(self) -> None:
        """Called in a child that ends: its parent signals it once more (`billiard.pool: on_death`)."""
        if os.getpid() == self._child:
            for number, handler in self._deadly.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # A process that a job has forked is not a child of the pool.
        if os.getpid() != self._child or not self._may_go_on():
            self._deadly[number](number, frame)

    def _may_go_on(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not self._ends[self._child] and os.getppid() == self._parent:
            if self._interruption.number:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
        return False


def _process_ids() -> int:
    """The number of possible process ids."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    return 2**22 if sys.maxsize > 2**32 else 2**15 + 1
