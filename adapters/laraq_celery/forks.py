"""quiet_lock(): threads of a worker's parent have nothing under way while it forks."""

from __future__ import annotations

import os
import threading
from functools import cache

#: Seconds for which a fork waits until a thread has nothing under way.
PATIENCE = 2.0

_locks: list[threading.Lock] = []


def quiet_lock() -> threading.Lock:
    """A lock that a thread holds while it talks to the store and the broker, and every fork as well: a child forked in
    the middle would inherit a locked mutex of their libraries."""
    lock = threading.Lock()
    _locks.append(lock)
    return lock


@cache
def watch_forks() -> None:
    """Called when the broker is connected: hooks run in the reverse order of their registration, and a fork that held
    a mutex of the transport (`laraq_sqlalchemy.broker.presence`) while it waits for the thread would wait for ever.
    For transports that are imported later still it gives up after a while.
    """
    held: list[list[threading.Lock]] = []

    def before() -> None:
        held.append([lock for lock in _locks if lock.acquire(timeout=PATIENCE)])

    def after() -> None:
        for lock in held.pop():
            lock.release()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
