"""Acknowledged: the runs of a worker whose messages are acknowledged, so that journals can forget them.

The parent of a process pool acknowledges, its children keep the journals. A child begins one run after the other, and
the parent learns of each start in that order (`on_accepted`). So one number per child is enough: the start time of the
newest run whose acknowledgement, and those of all earlier runs, are sent. Parent and children share it in memory.

In a pool without processes both are one process, and each run is recorded separately.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq.ports import Journal
    from laraq_celery.worker.request import JobRequest

#: A child's pid and its number, `time.monotonic()`, the same for all processes of a machine.
_MARK = struct.Struct("=qd")

#: Places for marks. Two children whose pids share a place have none.
_PLACES = 1024

#: Seconds after which an acknowledgement counts as sent that Celery could not send because its connection was lost: the
#: message has been redelivered by then.
GIVEN_UP = 3600.0

#: Fewest processes or runs that are worth a search.
_FEW = 64


class Runs:
    """What one child was given together: one job, or a parcel of jobs."""

    __slots__ = ("accepted_at", "ended", "requests")

    def __init__(self, accepted_at: float, requests: list[JobRequest], *, ended: bool = True) -> None:
        self.accepted_at = accepted_at
        self.requests = requests
        #: Whether no other run follows.
        self.ended = ended

    def are_out(self) -> bool:
        """Whether the acknowledgements of all are sent."""
        return self.ended and all(_is_out(self.accepted_at, request) for request in self.requests)


class Acknowledged:
    """The acknowledged runs of one worker. Created by its parent before the pool forks."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._token = uuid.uuid4().hex[:12]
        self._marks = mmap.mmap(-1, _PLACES * _MARK.size)
        #: For each child, what it was given, in that order.
        self._runs: dict[int, deque[Runs]] = {}
        #: The runs of this process's own pool, by id.
        self._own: dict[str, list[tuple[float, JobRequest]]] = {}
        #: The processes whose records are not erased yet.
        self._writers: set[int] = set()
        self._lock = threading.Lock()

    # -- in a child, or in a parent that runs jobs itself ---------------------------------------------------------

    def writer(self) -> str:
        """The name of this process in the journal."""
        return self._writer_of(os.getpid())

    def are_out(self) -> Callable[[str, float], bool]:
        """Whether the broker has the acknowledgement of a run that ended, by its run key and start."""
        pid = os.getpid()
        if pid == self._parent:
            return self._is_own_out
        owner, mark = _MARK.unpack_from(self._marks, self._place(pid))
        newest = mark if owner == pid else 0.0
        return lambda run_key, begun_at: newest > begun_at

    def _is_own_out(self, run_key: str, begun_at: float) -> bool:
        with self._lock:
            runs = self._own.get(run_key) or self._own.get(run_key.rpartition("+")[0]) or []
            return all(_is_out(accepted_at, request) for accepted_at, request in runs)

    # -- in the parent --------------------------------------------------------------------------------------------

    def accepted(self, request: JobRequest, pid: int, accepted_at: float) -> None:
        """Record that a process of the pool begins the run."""
        with self._lock:
            self._writers.add(pid)
            if pid == self._parent:
                self._own.setdefault(str(request.id), []).append((accepted_at, request))
                if len(self._own) > self._sweep_own_at:
                    self._sweep_own()
                return
            self._follow(pid, Runs(accepted_at, [request]))

    def accepted_parcel(self, runs: Runs, pid: int) -> None:
        """Record that a process of the pool begins with a parcel."""
        with self._lock:
            self._writers.add(pid)
            self._follow(pid, runs)

    def _follow(self, pid: int, new: Runs) -> None:
        runs = self._runs.setdefault(pid, deque())
        self._advance(pid, runs)
        runs.append(new)

    def erase_gone(self, journal: Journal, *, all_of_them: bool = False) -> None:
        """Erase the records of ended processes whose messages are all acknowledged; with `all_of_them`, at the end of
        the worker, those of all such processes. Raises StoreError."""
        with self._lock:
            for pid, runs in list(self._runs.items()):
                self._advance(pid, runs)
                if not runs:
                    del self._runs[pid]
            self._sweep_own()
            closed = {pid for pid in self._writers if pid not in self._runs and not (pid == self._parent and self._own)}
        for pid in closed:
            if all_of_them or (pid != self._parent and not _is_alive(pid)):
                journal.erase(self._writer_of(pid))
                with self._lock:
                    self._writers.discard(pid)

    _sweep_own_at = _FEW

    def _sweep_own(self) -> None:
        for id, runs in list(self._own.items()):
            if all(_is_out(accepted_at, request) for accepted_at, request in runs):
                del self._own[id]
        self._sweep_own_at = max(2 * len(self._own), _FEW)

    def _advance(self, pid: int, runs: deque[Runs]) -> None:
        newest = 0.0
        while runs and runs[0].are_out():
            newest = runs.popleft().accepted_at
        if newest:
            _MARK.pack_into(self._marks, self._place(pid), pid, newest)

    def _place(self, pid: int) -> int:
        return pid % _PLACES * _MARK.size

    def _writer_of(self, pid: int) -> str:
        return f"{socket.gethostname()}:{pid}:{self._token}"


def _is_out(accepted_at: float, request: JobRequest) -> bool:
    message: Any = request.message
    if message.acknowledged:
        ledger = getattr(message.channel, "ledger", None)  # of laraq's brokers, which send several at once
        return ledger is None or not ledger.is_open(message.delivery_tag)
    return bool(request.acknowledged) and time.monotonic() - accepted_at > GIVEN_UP


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
