"""MemoryStore: everything in the memory of one process; for tests, scripts and the `sync` connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from laraq.failed.query import select
from laraq.local.memory.batches import MemoryBatches
from laraq.local.memory.cache import MemoryCache
from laraq.local.memory.delayed import MemoryDelayed
from laraq.local.memory.limits import MemoryLimits
from laraq.local.memory.locks import MemoryLocks
from laraq.local.memory.parking import MemoryParking
from laraq.messages.failure import FailedJob, FailedJobQuery
from laraq.ports.journal import JournalEntry
from laraq.process.forks import new_lock

#: Seconds a claimed start stays claimed.
CLAIM_SECONDS = 24 * 3600


class MemoryFailedJobs:
    """Failed jobs in a dict. They are gone when the process ends, and a forked child has its own copy."""

    def __init__(self) -> None:
        self._records: dict[str, FailedJob] = {}
        self._lock = new_lock()

    def record(self, failed: FailedJob) -> None:
        """Keep the record; a record with the same id is replaced."""
        with self._lock:
            self._records[failed.id] = failed

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""
        with self._lock:
            return self._records.get(id)

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""
        with self._lock:
            return select(self._records.values(), query)

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that exact moment, when given); return whether it existed."""
        with self._lock:
            failed = self._records.get(id)
            if failed is None or (failed_at is not None and failed.failed_at != failed_at):
                return False
            del self._records[id]
            return True

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; return how many."""
        with self._lock:
            matching = select(self._records.values(), query)
            for failed in matching:
                del self._records[failed.id]
            return len(matching)

    def count(self, query: FailedJobQuery | None = None) -> int:
        """The number of records that match."""
        return len(self.all(query))


class MemoryJournal:
    """The journal of workers that are threads of this process; it ends with them, as their jobs do."""

    def __init__(self) -> None:
        self._writers: dict[str, tuple[float, tuple[JournalEntry, ...]]] = {}
        #: Claims with the time at which they expire, by a monotonic clock.
        self._claims: dict[tuple[str, int], float] = {}
        self._lock = new_lock()

    def write(self, writer: str, entries: Sequence[JournalEntry]) -> None:
        """Replace the entries of `writer`."""
        with self._lock:
            self._writers[writer] = (time.monotonic(), tuple(entries))

    def find(self, run_key: str) -> JournalEntry | None:
        """The furthest entry of any writer about that job, or None."""
        with self._lock:
            entries = [entry for _, said in self._writers.values() for entry in said]
        return max((entry for entry in entries if entry.run_key == run_key), key=JournalEntry.rank, default=None)

    def claim(self, run_key: str, attempt: int) -> bool:
        """Return True to exactly one caller for that start of that job, until `prune` drops it after a day."""
        with self._lock:
            known = len(self._claims)
            self._claims.setdefault((run_key, attempt), time.monotonic() + CLAIM_SECONDS)
            return len(self._claims) > known

    def erase(self, writer: str) -> None:
        """Forget the writer."""
        with self._lock:
            self._writers.pop(writer, None)

    def prune(self, silent_for: timedelta) -> int:
        """Forget writers that have not written for that long; return how many."""
        newest = time.monotonic() - silent_for.total_seconds()
        with self._lock:
            silent = [writer for writer, (written_at, _) in self._writers.items() if written_at <= newest]
            for writer in silent:
                del self._writers[writer]
            now = time.monotonic()
            self._claims = {claim: ends_at for claim, ends_at in self._claims.items() if ends_at > now}
        return len(silent)


class MemoryStore:
    """A store with all its ports in this process's memory; `memory://` in settings."""

    label = "memory"
    relational = False

    def __init__(self) -> None:
        self._failed = MemoryFailedJobs()
        self._batches = MemoryBatches()
        self._journal = MemoryJournal()
        self._locks = MemoryLocks()
        self._limits = MemoryLimits()
        self._cache = MemoryCache()
        self._parking = MemoryParking(self._locks, self._limits)
        self._delayed = MemoryDelayed()

    @classmethod
    def from_url(cls, url: str) -> MemoryStore:
        """A new, empty store; two calls share nothing. Only the scheme of the URL is used."""
        return cls()

    @property
    def failed(self) -> MemoryFailedJobs:
        """The failed jobs in this store."""
        return self._failed

    @property
    def batches(self) -> MemoryBatches:
        """The batches in this store."""
        return self._batches

    @property
    def journal(self) -> MemoryJournal:
        """The journal in this store."""
        return self._journal

    @property
    def locks(self) -> MemoryLocks:
        """The locks in this store."""
        return self._locks

    @property
    def limits(self) -> MemoryLimits:
        """The limits in this store."""
        return self._limits

    @property
    def cache(self) -> MemoryCache:
        """The cache in this store."""
        return self._cache

    @property
    def parking(self) -> MemoryParking:
        """The jobs in this store that wait for a lock or for limits."""
        return self._parking

    @property
    def delayed(self) -> MemoryDelayed:
        """The messages in this store that wait for their time."""
        return self._delayed

    def migrate(self) -> Sequence[str]:
        """Memory has no schema."""
        return ()

    def close(self) -> None:
        """Memory has no connections; what is kept stays."""
