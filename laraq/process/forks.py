"""Forks: prevents a process from forking while one of its threads holds foreign mutexes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

#: Most seconds that a fork waits until the other threads are done.
PATIENCE = 2.0


class _Busy:
    """`with busy:` wraps code that holds mutexes of other libraries: calls of a store or a broker.

    A forked child has only the thread that forked. A mutex of SQLite, redis-py, kombu or Python's cached properties
    that another thread held at that moment stays locked there for ever. So a fork waits, for at most `PATIENCE`, until
    no other thread is inside, and threads that want to enter wait for the fork. May be nested.
    """

    def __init__(self) -> None:
        #: The nesting depth of each thread, by its id.
        self._depths: dict[int, int] = {}
        self._forking: set[int] = set()
        self._forked = threading.Event()

    def __enter__(self) -> None:
        me, depths = threading.get_ident(), self._depths
        while True:
            depth = depths.get(me, 0)
            depths[me] = depth + 1
            if depth or not self._forking:  # checked after the entry, which a fork checks after it began
                return
            del depths[me]
            self._forked.wait(PATIENCE)

    def __exit__(self, *_: object) -> None:
        me, depths = threading.get_ident(), self._depths
        depth = depths[me]
        if depth > 1:
            depths[me] = depth - 1
        else:
            del depths[me]

    def before_fork(self) -> None:
        me = threading.get_ident()
        self._forked.clear()
        self._forking.add(me)
        until = time.monotonic() + PATIENCE
        while any(thread != me for thread in list(self._depths)) and time.monotonic() < until:
            time.sleep(0.0005)

    def after_fork_in_parent(self) -> None:
        self._forking.discard(threading.get_ident())
        if not self._forking:
            self._forked.set()

    def after_fork_in_child(self) -> None:
        me = threading.get_ident()
        self._depths = {me: self._depths[me]} if me in self._depths else {}
        self._forking, self._forked = set(), threading.Event()


busy = _Busy()

_locks: WeakSet[threading.Lock] = WeakSet()


def new_lock() -> threading.Lock:
    """A lock that is free in a forked child, whichever thread held it in the parent."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _free_locks() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its locks


_resets: WeakKeyDictionary[Any, Callable[[Any], object]] = WeakKeyDictionary()


def after_fork(reset: Callable[[], object]) -> None:
    """Let a forked child call `reset` first. A method is dropped with its object, which can have one."""
    if isinstance(reset, MethodType):
        _resets[reset.__self__] = reset.__func__
    elif hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=reset)


def _reset_all() -> None:
    for owner, reset in list(_resets.items()):
        reset(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=busy.before_fork, after_in_parent=busy.after_fork_in_parent, after_in_child=busy.after_fork_in_child
    )
after_fork(_free_locks)
after_fork(_reset_all)
