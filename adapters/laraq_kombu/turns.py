"""Turns: when a transport works, in a worker's event loop or in the caller's loop."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol


class EventLoop(Protocol):
    """The part of kombu's hub that is needed."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        """Call back after that many seconds; the result has a `cancel`."""


class Turns:
    """Everything a transport does in a worker happens in callbacks of file descriptors and timers.

    The next poll of the hub does not see what a callback of its `on_tick` set, or of a timer, leaves to it: timers,
    writers and ready calls, such as the acknowledgements of a solo pool. So code with news, even a timer, calls `poke`,
    which makes an own socket readable, and the turn is taken when the hub reads it.
    """

    def __init__(self, pump: Callable[[], bool], wait: Callable[[], float | None]) -> None:
        """`pump` does all possible work, and returns whether anything was delivered. `wait` returns the seconds until
        it may have work without a `poke`; None: only after an event."""
        self._pump = pump
        self._wait = wait
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._poked = False
        self._loop: EventLoop | None = None
        self._loop_thread: int | None = None
        self._timer: Any = None
        self._timer_at = 0.0
        #: The thread that is working now.
        self._worker: int | None = None

    def open(self) -> None:
        """Open the socket for `poke`."""
        if self._ends is None:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)

    def close(self) -> None:
        """End the turns. The socket must have been removed from its poller."""
        self._cancel_timer()
        if self._ends is not None:
            ends, self._ends = self._ends, None
            for end in ends:
                end.close()
            self._poked = False

    def join(self, loop: EventLoop) -> None:
        """Set timers in this event loop, whose thread takes the turns."""
        self._loop = loop

    @property
    def socket(self) -> socket.socket | None:
        """The socket, readable from `poke` until `quiet`; None while closed."""
        return None if self._ends is None else self._ends[0]

    def poke(self) -> None:
        """Take a turn soon; callable from any thread."""
        if self._ends is not None and not self._poked:
            self._poked = True
            with contextlib.suppress(OSError):
                self._ends[1].send(b"\0")

    def quiet(self) -> None:
        """Read the socket."""
        self._poked = False
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                self._ends[0].recv(64)

    def reconsider(self) -> None:
        """Check whether the next turn is due sooner than planned; callable from any thread.

        In the thread of the event loop this only reads the clock, while a poke would cost a turn for each
        acknowledgement.
        """
        me = threading.get_ident()
        if self._poked or me == self._worker:
            return  # a turn is coming, or in progress and ends with a plan
        if self._loop is not None and me == self._loop_thread:
            self._plan()
        else:
            self.poke()

    @contextlib.contextmanager
    def planned_once(self) -> Iterator[None]:
        """A block in the thread of the event loop that changes much: the next turn is planned at its end."""
        outer, self._worker = self._worker, threading.get_ident()
        try:
            yield
        finally:
            self._worker = outer
            self.reconsider()

    def take(self) -> None:
        """Work, then plan the next turn; called by the event loop."""
        self._loop_thread = threading.get_ident()
        if self._worker is None:
            self.work()
            self._plan()

    def work(self) -> bool:
        """Work without a plan, for the caller's loop; return whether anything was delivered."""
        self._worker = threading.get_ident()
        try:
            return self._pump()
        finally:
            self._worker = None

    def _plan(self) -> None:
        wait = self._wait()
        if wait is None:
            return
        if wait <= 0:
            self.poke()
            return
        now = time.monotonic()
        at = now + wait
        # A turn too early does no harm. An overdue timer may never fire: a hub sometimes loses its timers.
        if self._loop is None or (self._timer is not None and now <= self._timer_at <= at + 0.001):
            return
        self._cancel_timer()
        self._timer_at = at
        self._timer = self._loop.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._plan()  # its time may have changed

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
