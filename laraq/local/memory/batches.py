"""MemoryBatches: batches counted for the threads of one process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from laraq.messages.tally import CLOSED, FIRST_LOAD, BatchQuery, BatchRecord, MemberState, Settled, Tally
from laraq.process.forks import new_lock


class _Batch:
    """One batch. What its record says is brought up to date by `changed`."""

    def __init__(self, record: BatchRecord) -> None:
        self.record = record
        #: In the order they were added.
        self.members: dict[str, MemberState] = {}
        #: Loads under way: their jobs, and the epoch seconds at which they lapse.
        self.loads: dict[str, tuple[list[str], float]] = {}
        self._counts: Counter[MemberState] = Counter()

    def load(self, name: str, jobs: Sequence[str], seconds: float) -> None:
        """Make the jobs members as part of that load."""
        loaded, _ = self.loads.get(name, ([], 0.0))
        self.loads[name] = (loaded, time.time() + seconds)
        for job in jobs:
            if job not in self.members:
                self.put(job, MemberState.PENDING)
                loaded.append(job)

    def put(self, job: str, state: MemberState | None) -> None:
        """Set the state of a job; None: it is a member no more."""
        if (before := self.members.get(job)) is not None:
            self._counts[before] -= 1
        if state is None:
            del self.members[job]
        else:
            self.members[job] = state
            self._counts[state] += 1

    def changed(self, *, cancel: bool = False) -> BatchRecord:
        """The record after a change."""
        counted = replace(
            self.record,
            total=len(self.members),
            done=self._counts[MemberState.DONE],
            failed=self._counts[MemberState.FAILED],
            dropped=self._counts[MemberState.DROPPED],
            loads=len(self.loads),
            sent=self.record.sent - {CLOSED},
            cancelled_at=self.record.cancelled_at or (datetime.now(UTC) if cancel else None),
        )
        finished_at = (counted.finished_at or datetime.now(UTC)) if counted.complete else None
        self.record = replace(counted, finished_at=finished_at)
        return self.record


class MemoryBatches:
    """Batches in a dict. They are gone when the process ends, and a forked child has its own copy."""

    settles_at_once = True

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}
        self._lock = new_lock()

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch whose members so far are these, its FIRST_LOAD under way; an id that is known stays."""
        with self._lock:
            if batch.id not in self._batches:
                new = _Batch(replace(batch, created_at=datetime.now(UTC), cancelled_at=None))
                new.load(FIRST_LOAD, jobs, seconds)
                new.changed()
                self._batches[batch.id] = new

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or (batch.record.cancelled_at is not None and load not in batch.loads):
                return None
            batch.load(load, jobs, seconds)
            return batch.changed()

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """The load is over; without `keep` those of its jobs that are still pending are members no more."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or load not in batch.loads:
                return None if batch is None else batch.record
            jobs, _ = batch.loads.pop(load)
            for job in () if keep else jobs:
                if batch.members[job] is MemberState.PENDING:
                    batch.put(job, None)
            return batch.changed()

    def settle(self, id: str, job: str, outcome: MemberState, dropped: Sequence[str] = ()) -> Settled | None:
        """Note how a job ended (`MemberState.after`), and that pending `dropped` will never run."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None:
                return None
            before = batch.members.get(job)
            after = outcome if before is None else before.after(outcome)
            never = {each for each in dropped if each != job and batch.members.get(each) is MemberState.PENDING}
            changed = after is not before
            if not changed and not never:
                return Settled(batch.record, changed=False)
            batch.put(job, after)
            for each in never:
                batch.put(each, MemberState.DROPPED)
            failed = changed and after is MemberState.FAILED
            return Settled(batch.changed(cancel=failed and not batch.record.allow_failures), changed)

    def succeed(self, id: str, jobs: Sequence[str]) -> Settled | None:
        """`settle` of jobs that all succeeded, in one step."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None:
                return None
            news = {job for job in jobs if batch.members.get(job) is not MemberState.DONE}
            for job in jobs:
                batch.put(job, MemberState.DONE)
            return Settled(batch.changed() if news else batch.record, bool(news))

    def fail(self, id: str, jobs: Sequence[str], dropped: Sequence[str] = ()) -> Settled | None:
        """`settle` of jobs that all failed, in one step."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None:
                return None
            pending = MemberState.PENDING
            news = {
                job for job in jobs if batch.members.get(job, pending) not in (MemberState.DONE, MemberState.FAILED)
            }
            never = {job for job in dropped if job not in jobs and batch.members.get(job) is pending}
            if not news and not never:
                return Settled(batch.record, changed=False)
            for job in jobs:
                if job in news:
                    batch.put(job, MemberState.FAILED)
            for job in never:
                batch.put(job, MemberState.DROPPED)
            return Settled(batch.changed(cancel=bool(news) and not batch.record.allow_failures), bool(news))

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at`, if it was not set."""
        with self._lock:
            batch = self._batches.get(id)
            if batch is None or batch.record.cancelled_at is not None:
                return None if batch is None else batch.record
            return batch.changed(cancel=True)

    def mark(self, id: str, event: str) -> bool:
        """Add to `sent`; say whether it was not there."""
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
        """How far one of its jobs is; None when it is none of them."""
        with self._lock:
            batch = self._batches.get(id)
            return None if batch is None else batch.members.get(job)

    def delete(self, query: BatchQuery) -> int:
        """Drop every batch that matches, its members too; say how many."""
        with self._lock:
            matching = self._matching(query)
            for record in matching:
                del self._batches[record.id]
            return len(matching)

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished that long ago and are not marked CLOSED; the first to finish first."""
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        with self._lock:
            records = [batch.record for batch in self._batches.values()]
        finished = ((each.finished_at, each.id) for each in records if each.finished_at and CLOSED not in each.sent)
        return [id for moment, id in sorted(finished) if moment <= then][:limit]

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch id and load of loads that were neither continued nor ended in time; the first to lapse first."""
        with self._lock:
            loads = [
                (lapses_at, id, name)
                for id, batch in self._batches.items()
                for name, (_, lapses_at) in batch.loads.items()
                if lapses_at <= time.time()
            ]
        return [(id, name) for _, id, name in sorted(loads)[:limit]]

    def _matching(self, query: BatchQuery) -> list[BatchRecord]:
        """Batches of the same moment are ordered by id, so listings repeat."""
        records = [batch.record for batch in self._batches.values() if query.matches(batch.record)]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return list(islice(records, query.limit))
