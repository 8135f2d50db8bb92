"""Heartbeat: renews the leases of a living process, whatever its event loop is doing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from weakref import WeakSet

from laraq.errors import StoreError

logger = logging.getLogger(__name__)

#: Every heartbeat of this process, and those that a fork under way has stopped.
_all: WeakSet[Heartbeat] = WeakSet()
_stopped: list[Heartbeat] = []


def _stop_all() -> None:
    for heartbeat in list(_all):
        heartbeat._between_beats.acquire()
        _stopped.append(heartbeat)


def _let_all_go_on() -> None:
    while _stopped:
        _stopped.pop()._between_beats.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_stop_all, after_in_parent=_let_all_go_on, after_in_child=_let_all_go_on)


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
        #: Held while it talks to a store, and across every fork: a child forked in the middle would inherit a locked
        #: mutex of the database library and hang in its first query.
        self._between_beats = threading.Lock()
        _all.add(self)

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
                with self._between_beats:
                    busy = self._beat()
            except StoreError as error:
                busy = True
                logger.warning("Leases could not be renewed, trying again: %s", error)
            with self._lock:
                if not self._attached and not busy:
                    self._thread = None
                    return
