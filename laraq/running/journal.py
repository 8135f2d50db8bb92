"""The run journal of one worker process: the jobs it runs, and those it finished last.

A broker only shows that a message was delivered before, not whether its job was started: prefetched messages have the
same flag. So each process notes every start beforehand and every end afterwards, in one record of the store that it
overwrites. Only redelivered messages are looked up.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from laraq.errors import StoreError
from laraq.messages.run_key import stored
from laraq.ports import Journal
from laraq.ports.journal import JournalEntry, RunState
from laraq.process.forks import new_lock

logger = logging.getLogger("laraq.runner")

#: Ended runs that a process keeps in its record if it does not learn which are acknowledged.
KEPT = 16

#: So many runs that follow one another at once make it worth a search for those that are acknowledged.
FEW = 8

#: Most ended runs that it keeps if it does: a long outage of the broker must not make every write huge.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Start:
    """Run the job, as this start."""

    number: int
    #: Whether the start before this one died without settling.
    died: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The job's bookkeeping is done; only the acknowledgement was lost."""

    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class Finished:
    """The job succeeded, and its worker died while it notified what follows."""

    entry: JournalEntry


class Acknowledgements(Protocol):
    """Knows which messages cannot be redelivered to this process."""

    def writer(self) -> str:
        """The name under which this process writes; its creator erases that record in the end."""

    def are_out(self) -> Callable[[str, float], bool]:
        """By run key and `time.monotonic()` of its start: whether the broker has the acknowledgement of an ended run,
        as known at this moment."""


class _Note(NamedTuple):
    entry: JournalEntry
    #: The key as in the message.
    run_key: str
    begun_at: float
    #: Whether this process has finished it.
    over: bool = False


Judgement: TypeAlias = Start | Settled | Finished


def judge(starts: int, entry: JournalEntry | None, succeeded: Callable[[], bool] = lambda: False) -> Judgement:
    """What a redelivered message means, whose payload has that many earlier starts, counted or not.

    `succeeded` is called for a run that did not end: whether its batch knows that the job succeeded.
    """
    if entry is None or entry.attempt <= starts:
        return Start(starts + 1)
    if entry.ended:
        return Settled(entry)
    if entry.state is RunState.FINISHED or succeeded():
        return Finished(entry)
    return Start(entry.attempt + 1, died=True)


class RunJournal:
    """Notes starts and ends under its own name; safe in threads, with a new name after a fork.

    An ended run is noted until its message is certainly acknowledged (`Acknowledgements`): before, it may be
    redelivered. An entry that could not be written is dropped: one bad entry must not spoil later ones.
    """

    def __init__(self, journal: Journal, acknowledgements: Acknowledgements | None = None) -> None:
        self._journal = journal
        self._lock = new_lock()
        self._acknowledgements = acknowledgements
        #: By `stored` run key, oldest first.
        self._notes: dict[str, _Note] = {}
        #: Whether an end is written with the next note (`together`), and whether there is one that is not.
        self._together = self._unwritten = False
        #: So many notes are worth a search for those that are not needed any more.
        self._search_at = 0
        self._reset()

    @contextmanager
    def together(self) -> Iterator[None]:
        """For runs that follow one another at once: the end of each is written with the start of the next, and that of
        the last one at the end of the block."""
        self._together, self._search_at = True, 0
        try:
            yield
        finally:
            self._together = False
            with self._lock:
                if self._unwritten and self._pid == os.getpid():
                    try:
                        self._write(self._notes)
                    except StoreError as error:
                        # The outcomes stand; at worst a lost acknowledgement starts a job once more.
                        logger.warning("The ends of the last jobs could not be recorded in the run journal: %s", error)

    def begin(self, run_key: str, attempt: int) -> None:
        """Note a start; when this returns, a kill of this process does not undo it."""
        self._note(run_key, attempt, RunState.RUNNING)

    def finish(self, run_key: str, attempt: int) -> None:
        """Note that the job of that start succeeded, before what follows it is notified."""
        self._note(run_key, attempt, RunState.FINISHED)

    def hand_over(self, run_key: str, attempt: int) -> None:
        """`finish` a start whose end another process reports within milliseconds. It is written with the next note,
        which saves a write: if both are killed before that, the run counts as died.
        """
        self._note(run_key, attempt, RunState.FINISHED, over=True, write=False)

    def end(self, run_key: str, attempt: int, state: RunState, *, known: bool = False) -> None:
        """Note that the bookkeeping of that start is done.

        If that is `known` without this journal, it is written with the next note, which saves a write.
        """
        self._note(run_key, attempt, state, over=True, write=not (known or self._together))

    def claim(self, run_key: str, attempt: int) -> bool:
        """Claim that start for this process, after `begin`; if another process has it, the note is removed.

        Two messages of one job can exist: a crash between "sent again" and "acknowledged" leaves both. They must not
        become two runs of the job, each with its own count of tries.
        """
        if self._journal.claim(stored(run_key), attempt):
            return True
        with self._lock:
            notes = {key: note for key, note in self._notes.items() if key != stored(run_key)}
            self._write(notes)
        return False

    def find(self, run_key: str) -> JournalEntry | None:
        """The note of any process about a job."""
        return self._journal.find(stored(run_key))

    def close(self) -> None:
        """Erase the record of this process when it ends with no running job, not while messages may be redelivered."""
        with self._lock:
            mine = self._acknowledgements is None and self._pid == os.getpid()
            if mine and self._notes and all(note.over for note in self._notes.values()):
                self._journal.erase(self._writer)
                self._notes = {}

    def _note(self, run_key: str, attempt: int, state: RunState, *, over: bool = False, write: bool = True) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._reset()
            key = stored(run_key)
            begun = self._notes.get(key)
            begun_at = time.monotonic() if begun is None or state is RunState.RUNNING else begun.begun_at
            notes = dict(self._notes) if self._together and len(self._notes) < self._search_at else self._still_needed()
            notes.pop(key, None)
            notes[key] = _Note(JournalEntry(key, attempt, state), run_key, begun_at, over)
            if len(notes) > (KEPT if self._acknowledgements is None else MOST):
                oldest = next((key for key, note in notes.items() if note.over), None)
                if oldest is not None:
                    del notes[oldest]
            if write:
                self._write(notes)
            else:
                self._notes, self._unwritten = notes, True

    def _still_needed(self) -> dict[str, _Note]:
        """The notes that may still be needed."""
        if self._acknowledgements is None:
            return dict(self._notes)
        is_out = self._acknowledgements.are_out()
        needed = {
            key: note for key, note in self._notes.items() if not (note.over and is_out(note.run_key, note.begun_at))
        }
        self._search_at = len(needed) + FEW
        return needed

    def _write(self, notes: dict[str, _Note]) -> None:
        """Write the notes, then keep them."""
        self._journal.write(self._writer, [note.entry for note in notes.values()])
        self._notes, self._unwritten = notes, False

    def _reset(self) -> None:
        self._pid = os.getpid()
        if self._acknowledgements is not None:
            self._writer = self._acknowledgements.writer()
        else:
            self._writer = f"{socket.gethostname()}:{self._pid}:{uuid.uuid4().hex[:12]}"
        self._notes = {}
