"""MemoryParking: parked jobs of the threads of one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from laraq.local.memory.limits import MemoryLimits
from laraq.local.memory.locks import MemoryLocks
from laraq.ports import CALL_AGAIN, HAND_OVER, LOOK, Line, ParkedJob, turn_at_limits, turn_at_lock
from laraq.process import clock
from laraq.process.forks import new_lock


@dataclass(slots=True)
class _Jobs:
    """The jobs in one line."""

    waiting: dict[str, ParkedJob] = field(default_factory=dict)
    #: The jobs, with the moment to wake them again.
    called: dict[str, tuple[ParkedJob, float]] = field(default_factory=dict)
    due_at: float = 0.0
    #: Place of the last job, in microseconds of the clock.
    last: int = 0


class MemoryParking:
    """Lines in a dict, over the locks and limits of the same store. A forked child has its own copy."""

    call_again = CALL_AGAIN
    look = LOOK

    def __init__(self, locks: MemoryLocks, limits: MemoryLimits) -> None:
        self._locks = locks
        self._limits = limits
        self._lines: dict[Line, _Jobs] = {}
        self._lock = new_lock()

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job in its place, or at the end; then `call`."""
        with self._lock:
            jobs = self._lines.setdefault(job.line, _Jobs())
            known = jobs.waiting.get(job.owner)
            jobs.last = max(jobs.last + 1, int(clock.now() * 1_000_000))
            jobs.called.pop(job.owner, None)
            jobs.waiting[job.owner] = replace(job, since=known.since if known else job.since or jobs.last)
            return self._call(job.line, jobs)

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Wake the jobs that may run now, unless the line is not due yet."""
        with self._lock:
            jobs = self._lines.get(line)
            return self._call(line, jobs) if jobs else []

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease and its place in line, and pass the lock to the first in line."""
        assert line.lock is not None
        with self._lock:
            jobs = self._lines.get(line, _Jobs())
            jobs.waiting.pop(owner, None)
            jobs.called.pop(owner, None)
            held = self._locks.release(line.lock, owner)
            first = min(jobs.waiting.values(), key=_place, default=None)
            if not held or first is None or not self._locks.acquire(line.lock, first.owner, HAND_OVER):
                return held, []
            self._take(jobs, first)
            jobs.due_at = clock.now() + min(self.look, self.call_again)
            return held, [first]

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were woken, except those that were parked again since."""
        with self._lock:
            for job in jobs:
                if line := self._lines.get(job.line):
                    line.called.pop(job.owner, None)
                    self._drop_empty(job.line, line)

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """The lines that are due, and the seconds until the next one is."""
        with self._lock:
            now = clock.now()
            times = {line: jobs.due_at - now for line, jobs in self._lines.items() if line.home == home}
        lines = sorted((line for line, left in times.items() if left <= 0), key=times.__getitem__)[:100]
        return lines, min((left for left in times.values() if left > 0), default=None)

    def count(self, line: Line) -> int:
        """The number of jobs that wait to be woken."""
        with self._lock:
            return len(jobs.waiting) if (jobs := self._lines.get(line)) else 0

    def waiting(self, home: str) -> Iterator[ParkedJob]:
        """The jobs that wait to be woken, line by line."""
        with self._lock:
            lines = [
                sorted(jobs.waiting.values(), key=_place) for line, jobs in self._lines.items() if line.home == home
            ]
        for jobs in lines:
            yield from jobs

    def _call(self, line: Line, jobs: _Jobs) -> Sequence[ParkedJob]:
        now = clock.now()
        if jobs.due_at > now:
            return []
        waiting = sorted(jobs.waiting.values(), key=_place)
        if line.lock is not None:
            turn = turn_at_lock(waiting, self._locks.ends_in(line.lock), self.look)
        else:
            usages = [self._limits.usage(key) for key in line.limits]
            turn = turn_at_limits(waiting, usages, int(now * 1000), self.look)
        called = [*(job for job, again_at in jobs.called.values() if again_at <= now), *turn.jobs]
        for job in called:
            self._take(jobs, job)
        jobs.due_at = now + min([turn.look_in, *(again_at - now for _, again_at in jobs.called.values())])
        self._drop_empty(line, jobs)
        return called

    def _take(self, jobs: _Jobs, job: ParkedJob) -> None:
        jobs.waiting.pop(job.owner, None)
        jobs.called[job.owner] = (job, clock.now() + self.call_again)

    def _drop_empty(self, line: Line, jobs: _Jobs) -> None:
        if not jobs.waiting and not jobs.called:
            self._lines.pop(line, None)


def _place(job: ParkedJob) -> int:
    return job.since
