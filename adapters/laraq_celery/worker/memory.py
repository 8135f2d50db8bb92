"""memory(): what the processes of a worker use now."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def memory(pool: Any = None) -> int:
    """The resident memory, in bytes, of the largest process of the worker: its main process, or one of the pool."""
    return max(map(_resident, (os.getpid(), *_children(pool))))


def _children(pool: Any) -> Iterable[int]:
    processes = getattr(getattr(pool, "_pool", None), "_pool", None)
    return [process.pid for process in processes or () if getattr(process, "pid", None)]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        if pid != os.getpid():
            return 0  # it has just ended; or this is not Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if os.uname().sysname == "Darwin" else most * 1024
