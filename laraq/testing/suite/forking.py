"""Child: work done in a forked process, as the pools of a worker do it."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Child:
    """Runs `work` in a fork of this process: with the objects made before the fork, like a child of a prefork pool."""

    def __init__(self, work: Callable[[], object]) -> None:
        with warnings.catch_warnings():
            # Python 3.12 warns about threads that a fork leaves behind; a store has to bear just that.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def wait(self) -> int:
        """Its exit status, 0 when `work` returned, or minus the number of the signal that killed it."""
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)


def in_children(works: list[Callable[[], object]]) -> None:
    """Run each of `works` in a child of its own, all at once; fail unless every one returned."""
    children = [Child(work) for work in works]
    assert [child.wait() for child in children] == [0] * len(works)


def eventually(look: Callable[[], T], seconds: float = 5) -> T:
    """What `look` returns once it is true, or at the end of the time: for servers that answer before they act."""
    end = time.monotonic() + seconds
    while not (seen := look()) and time.monotonic() < end:
        time.sleep(0.01)
    return seen
