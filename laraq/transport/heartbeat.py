"""Heartbeat: renews the leases of a living process, whatever its event loop is doing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from laraq.errors import StoreError
from laraq.forks import busy

logger = logging.getLogger(__name__)


class Heartbeat:
    """Calls `beat` every `interval` seconds, which a function may say anew each time, in a thread of its own while
    somebody is attached.

    A thread, since a solo pool runs the job inside the event loop, where no timer fires. `beat` says whether
    there is still something to renew: a thread nobody is attached to ends once there is not, so a job that
    outlives its connection stays leased. A forked child has no thread until somebody attaches there.
    """

    def __init__(self, beat: Callable[[], bool], interval: float | Callable[[], float]) -> None:
        self._beat = beat
        self._interval = interval
        self._attached = 0
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._wake = threading.Event()
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Beat from now on."""
        self._start_over_after_fork()
        with self._lock:
            self._attached += 1
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name="laraq-heartbeat", daemon=True)
                self._thread.start()

    def detach(self) -> None:
        """Undo one `attach`."""
        self._start_over_after_fork()
        with self._lock:
            self._attached = max(self._attached - 1, 0)
        self._wake.set()

    def _start_over_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._attached, self._thread = os.getpid(), 0, None
            self._wake, self._lock = threading.Event(), threading.Lock()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval() if callable(self._interval) else self._interval)
            self._wake.clear()
            try:
                with busy:
                    more = self._beat()
            except StoreError as error:
                more = True
                logger.warning("Leases could not be renewed, trying again: %s", error)
            with self._lock:
                if not self._attached and not more:
                    self._thread = None
                    return
