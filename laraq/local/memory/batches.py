"""MemoryBatches: batches counted for the threads of one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from laraq.messages.tally import (
    CLOSED,
    FIRST_LOAD,
    BatchQuery,
    BatchRecord,
    MemberState,
    Settled,
    Tally,
    changed,
    moved,
    moves,
)
from laraq.process import clock
from laraq.process.forks import new_lock


class _Batch:
    """One batch."""

    def __init__(self, record: BatchRecord) -> None:
        self.record = record
        #: In the order they were added.
        self.members: dict[str, MemberState] = {}
        #: Loads in progress: their jobs, and the epoch seconds at which they lapse.
        self.loads: dict[str, tuple[list[str], float]] = {}

    def load(self, name: str, jobs: Sequence[str], seconds: float) -> None:
        """Make the jobs members as part of that load."""
        before = len(self.loads)
        loaded, _ = self.loads.get(name, ([], 0.0))
        self.loads[name] = (loaded, clock.now() + seconds)
        new = [job for job in dict.fromkeys(jobs) if job not in self.members]
        self.members.update(dict.fromkeys(new, MemberState.PENDING))
        loaded.extend(new)
        self.change(total=len(new), loads=len(self.loads) - before)

    def change(self, *, cancel: bool = False, **more: int) -> BatchRecord:
        """Update the record and return it."""
        self.record = changed(self.record, datetime.now(UTC), cancel=cancel, **more)
        return self.record


class MemoryBatches:
    """Batches in a dict. They are gone when the process ends, and a forked child has its own copy."""

    settles_at_once = True

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}
        self._lock = new_lock()

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch with these first members, its FIRST_LOAD in progress; a batch whose id exists is kept."""
        with self._lock:
            if batch.id not in self._batches:
                new = _Batch(replace(batch, created_at=datetime.now(UTC), cancelled_at=None))
                new.load(FIRST_LOAD, jobs, seconds)
                self._batches[batch.id] = new

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or (batch.record.cancelled_at is not None and load not in batch.loads):
                return None
            batch.load(load, jobs, seconds)
            return batch.record

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """End the load; without `keep`, its jobs that are still pending are no longer members."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or load not in batch.loads:
                return None if batch is None else batch.record
            loaded, _ = batch.loads.pop(load)
            gone = [] if keep else [job for job in loaded if batch.members[job] is MemberState.PENDING]
            for job in gone:
                del batch.members[job]
            return batch.change(total=-len(gone), loads=-1)

    def settle(self, id: str, outcome: MemberState, *jobs: str, dropped: Sequence[str] = ()) -> Settled | None:
        """Record how jobs ended, and that pending `dropped` will never run."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None:
                return None
            if news := moves(batch.members, outcome, jobs, dropped):
                batch.record = moved(batch.record, batch.members, news, datetime.now(UTC))
                batch.members.update(news)
            return Settled(batch.record, any(job in news for job in jobs))

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at` unless it is set."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or batch.record.cancelled_at is not None:
                return None if batch is None else batch.record
            return batch.change(cancel=True)

    def mark(self, id: str, event: str) -> bool:
        """Add an event to `sent`; return whether it was new."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or event in batch.record.sent:
                return False
            batch.record = replace(batch.record, sent=batch.record.sent | {event})
            return True

    def find(self, id: str) -> BatchRecord | None:
        """The batch, or None."""
        with self._lock:
            batch = self._batches.get(id)
            return None if batch is None else batch.record

    def all(self, query: BatchQuery | None = None) -> Sequence[BatchRecord]:
        """The batches that match, newest first."""
        with self._lock:
            return self._matching(query or BatchQuery())

    def jobs(self, id: str, state: MemberState) -> Sequence[str]:
        """The ids of its jobs in that state, in the order they were added."""
        with self._lock:
            batch = self._batches.get(id)
            return [] if batch is None else [job for job, each in batch.members.items() if each is state]

    def state(self, id: str, job: str) -> MemberState | None:
        """The state of one of its jobs; None when it has no such job."""
        with self._lock:
            batch = self._batches.get(id)
            return None if batch is None else batch.members.get(job)

    def delete(self, query: BatchQuery) -> int:
        """Delete every batch that matches, with its members; return how many."""
        with self._lock:
            matching = self._matching(query)
            for record in matching:
                del self._batches[record.id]
            return len(matching)

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished at least that long ago and are not marked CLOSED; the first to finish first."""
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        with self._lock:
            records = [batch.record for batch in self._batches.values()]
        finished = ((each.finished_at, each.id) for each in records if each.finished_at and CLOSED not in each.sent)
        return [id for moment, id in sorted(finished) if moment <= then][:limit]

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch ids and names of loads that were neither continued nor ended in time; the first to lapse first."""
        with self._lock:
            loads = [
                (lapses_at, id, name)
                for id, batch in self._batches.items()
                for name, (_, lapses_at) in batch.loads.items()
                if lapses_at <= clock.now()
            ]
        return [(id, name) for _, id, name in sorted(loads)[:limit]]

    def _matching(self, query: BatchQuery) -> list[BatchRecord]:
        """Batches of the same moment are ordered by id, so listings are stable."""
        records = [batch.record for batch in self._batches.values() if query.matches(batch.record)]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return list(islice(records, query.limit))
