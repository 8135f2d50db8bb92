"""Heartbeat: periodic work of a process, independent of its event loop; one thread does all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from laraq.errors import StoreError
from laraq.process.forks import after_fork, busy

logger = logging.getLogger(__name__)


class Heartbeat:
    """Calls `beat` every `interval` seconds while it is attached; a function may return a new interval each time.

    It runs outside of the event loop, in which a solo pool runs its jobs, so that no timer fires. `beat` returns
    whether there is still something to renew: a detached heartbeat ends once there is not, so a job that outlives its
    connection stays leased. In a forked child it does not beat until `attach` is called there.

    If it is not `quick`, it may block: it is then called in its own thread, so that no lease ends meanwhile.
    """

    def __init__(self, beat: Callable[[], bool], interval: float | Callable[[], float], *, quick: bool = True) -> None:
        self._beat = beat
        self._interval = interval
        self.quick = quick
        self._start_over()
        after_fork(self._start_over)

    def _start_over(self) -> None:
        self._attached = 0
        #: During a beat: when it should beat again, in monotonic seconds.
        self._again: float | None = None
        self._beating = False

    def attach(self) -> None:
        """Start to beat."""
        with _timer.lock:
            self._attached += 1
            if not (self._beating or self in _timer.due):
                _timer.call(self, time.monotonic() + self._wait())

    def detach(self) -> None:
        """Undo one `attach`; the next beat, at once, returns whether there is something left to do."""
        with _timer.lock:
            self._attached = max(self._attached - 1, 0)
        self.hurry()

    def hurry(self, within: float = 0.0) -> None:
        """Beat within that many seconds, if that is sooner; not after it has ended."""
        when = time.monotonic() + within
        with _timer.lock:
            if self._beating:
                self._again = when if self._again is None else min(self._again, when)
            elif self in _timer.due:
                _timer.call(self, min(_timer.due[self], when))

    def run(self) -> None:
        """Beat once, and plan the next time."""
        try:
            with busy:
                more = self._beat()
        except StoreError as error:
            more = True
            logger.warning("Leases could not be renewed, trying again: %s", error)
        except Exception:  # the thread must go on, for all other heartbeats
            more = True
            logger.exception("Periodic work has failed, trying again")
        with _timer.lock:
            self._beating, again, self._again = False, self._again, None
            if self._attached or more:
                when = time.monotonic() + self._wait()
                _timer.call(self, when if again is None else min(again, when))

    def begin(self) -> None:
        """Mark it as in progress instead of due; called with the lock."""
        self._beating = True

    def _wait(self) -> float:
        return self._interval() if callable(self._interval) else self._interval


class _Timer:
    """The thread of this process, which runs while any heartbeat is due."""

    def __init__(self) -> None:
        self._start_over()
        after_fork(self._start_over)

    def _start_over(self) -> None:
        self.lock = threading.RLock()
        #: Monotonic seconds.
        self.due: dict[Heartbeat, float] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, heartbeat: Heartbeat, when: float) -> None:
        """Let the heartbeat beat at that time; called with the lock."""
        self.due[heartbeat] = when
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="laraq-heartbeat", daemon=True)
            self._thread.start()
        self._changed.set()

    def _run(self) -> None:
        while True:
            with self.lock:
                if not self.due:
                    self._thread = None
                    return
                self._changed.clear()
                heartbeat = min(self.due, key=self.due.__getitem__)
                wait = self.due[heartbeat] - time.monotonic()
                if wait <= 0:
                    del self.due[heartbeat]
                    heartbeat.begin()
            if wait > 0:
                self._changed.wait(wait)
            elif heartbeat.quick:
                heartbeat.run()
            else:
                try:
                    threading.Thread(target=heartbeat.run, name="laraq-beat", daemon=True).start()
                except RuntimeError:
                    return  # the interpreter is about to end


_timer = _Timer()
