"""The run journal of one worker process: what it runs and what it finished last.

A broker only says that a message was delivered before, not whether its job was started: prefetched messages carry
the same flag. So each process notes every start before it and every end after it, in one record of the store that it
overwrites. Only a redelivered message is ever looked up.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from laraq.delivery import JournalEntry, RunState
from laraq.forks import new_lock
from laraq.ports import Journal

#: Ended runs a process keeps in its record: more than can be finished and not yet acknowledged.
KEPT = 16


@dataclass(frozen=True, slots=True)
class Start:
    """Run it; this is that start."""

    number: int
    #: Whether the start before this one died without settling.
    died: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """Its bookkeeping is done; only the acknowledgement was lost."""

    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class Finished:
    """The job succeeded, and its worker died while it told what follows."""

    entry: JournalEntry


Judgement: TypeAlias = Start | Settled | Finished


def judge(starts: int, entry: JournalEntry | None, succeeded: Callable[[], bool] = lambda: False) -> Judgement:
    """What a redelivered message means, whose payload tells of that many earlier starts, counted or not.

    `succeeded` is asked of a run that did not end: whether somebody else, its batch, knows that the job succeeded.
    """
    if entry is None or entry.attempt <= starts:
        return Start(starts + 1)
    if entry.ended:
        return Settled(entry)
    if entry.state is RunState.FINISHED or succeeded():
        return Finished(entry)
    return Start(entry.attempt + 1, died=True)


class RunJournal:
    """Notes starts and ends under a name of its own; safe in threads, a new one after a fork."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = new_lock()
        self._reset()

    def begin(self, run_key: str, attempt: int) -> None:
        """Note a start; when this returns, a kill of this process does not undo it."""
        self._note(JournalEntry(run_key, attempt, RunState.RUNNING))

    def finish(self, run_key: str, attempt: int) -> None:
        """Note that the job of that start succeeded, before what follows it is told."""
        self._note(JournalEntry(run_key, attempt, RunState.FINISHED))

    def hand_over(self, run_key: str, attempt: int) -> None:
        """`finish` of a start whose end another process tells, within milliseconds. It goes along with the next note,
        which saves a write: who is killed before that, and before the other has told, died in the run.
        """
        self._note(JournalEntry(run_key, attempt, RunState.FINISHED), over=True, write=False)

    def end(self, run_key: str, attempt: int, state: RunState, *, known: bool = False) -> None:
        """Note that the bookkeeping of that start is done.

        When that is `known` without this journal, it is told with the next note: that saves a write.
        """
        self._note(JournalEntry(run_key, attempt, state), over=True, write=not known)

    def claim(self, run_key: str, attempt: int) -> bool:
        """Make this process the only one to make that start, after `begin`; when it is not, the start is unsaid.

        Two messages of one job can exist: a crash between "sent again" and "acknowledged" leaves both. They must not
        become two lives of the job with a count of tries each.
        """
        if self._journal.claim(run_key, attempt):
            return True
        with self._lock:
            self._entries.pop(run_key, None)
            self._under_way.discard(run_key)
            self._journal.write(self._writer, tuple(self._entries.values()))
        return False

    def find(self, run_key: str) -> JournalEntry | None:
        """What any process noted about a job."""
        return self._journal.find(run_key)

    def close(self) -> None:
        """Forget this process; for one that ends with nothing running."""
        with self._lock:
            if self._pid == os.getpid() and self._entries and not self._under_way:
                self._entries.clear()
                self._journal.erase(self._writer)

    def _note(self, entry: JournalEntry, *, over: bool = False, write: bool = True) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._reset()
            entries, key = self._entries, entry.run_key
            entries.pop(key, None)
            entries[key] = entry
            if over:
                self._under_way.discard(key)
            else:
                self._under_way.add(key)
            if len(entries) > KEPT:
                oldest = next((key for key in entries if key not in self._under_way), None)
                if oldest is not None:
                    del entries[oldest]
            if write:
                self._journal.write(self._writer, tuple(entries.values()))

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._writer = f"{socket.gethostname()}:{self._pid}:{uuid.uuid4().hex[:12]}"
        #: By run key, oldest first.
        self._entries: dict[str, JournalEntry] = {}
        #: Run keys of those that this process has not done with.
        self._under_way: set[str] = set()
