"""Real threads, also where gevent or eventlet have put their own in the place of Python's.

Then `threading` makes green threads: they share one thread of the system, and in that there can be one event loop at a time.
"""

from __future__ import annotations

import _thread
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec
from types import BuiltinFunctionType
from typing import Any


def is_green() -> bool:
    """Whether threads that are made now are green ones."""
    return not isinstance(_thread.start_new_thread, BuiltinFunctionType)


def _original() -> Any:
    """The `_thread` that Python came with: another copy of it, for the one in use is patched in place."""
    spec = find_spec("_thread")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_real = _original()


def this_thread() -> int:
    """The system's thread that runs, the same for all green threads in it."""
    return int(_real.get_ident())


def start(function: Callable[[], object]) -> None:
    """Call it in a real thread, for which nobody waits at the end of the process."""
    _real.start_new_thread(function, ())


class Signal:
    """Said once in one real thread, heard in another, where other green threads go on meanwhile: what waits is a
    socket, which all of their kind patch."""

    def __init__(self) -> None:
        self._mine, self._theirs = socket.socketpair()

    def give(self) -> None:
        """Wake who waits."""
        os.write(self._theirs.fileno(), b"!")

    def wait(self) -> None:
        """Until it was given."""
        self._mine.recv(1)

    def close(self) -> None:
        """When nobody gives or waits any more."""
        self._mine.close()
        self._theirs.close()
