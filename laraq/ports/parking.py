"""Parking: jobs that wait for a lock or for limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from laraq.messages.delivery import Demand
from laraq.ports.limits import Usage

#: Seconds for which a released lock is kept for the parked job that is woken next. Longer than a message takes to reach
#: an idle worker; if the queue is long, other jobs may run meanwhile.
HAND_OVER = 1.0

#: Seconds after which a line for a lock is checked again: locks are also released by code that does not know parking.
LOOK = 2.0

#: Seconds after which a woken job is woken again, unless `sent` was called for it.
CALL_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """A queue of parked jobs that wait for the same thing, in order of arrival."""

    #: The application that the jobs belong to: only the same application can send them.
    home: str
    #: The jobs wait for this lock to be free ...
    lock: str | None = None
    #: ... or for room in all of these limits.
    limits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The line's name in the store."""
        return json.dumps([self.home, self.lock, *self.limits], ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Line:
        """The inverse of `text`."""
        home, lock, *limits = json.loads(text)
        return cls(home, lock, tuple(limits))


@dataclass(frozen=True, slots=True)
class ParkedJob:
    """A job that waits in a line; one per owner."""

    line: Line
    #: The owner under which the job will hold the lock.
    owner: str
    #: What to send when the job is woken.
    message: str
    #: The job's place in the line, by the store's clock; 0 is the end.
    since: int = 0
    #: The job's demands on the line's limits, in their order.
    demands: tuple[Demand, ...] = ()


class Turn(NamedTuple):
    """The jobs of a line that may run now."""

    jobs: Sequence[ParkedJob]
    #: Seconds after which to check again.
    look_in: float


def turn_at_lock(waiting: Iterable[ParkedJob], lease: float | None, look: float) -> Turn:
    """The first job, unless the lock is held for another `lease` seconds."""
    return Turn([*islice(waiting, 1)], look) if lease is None else Turn([], min(look, lease))


def turn_at_limits(waiting: Iterable[ParkedJob], usages: Sequence[Usage], now: int, look: float) -> Turn:
    """As many of the first jobs as the windows have room for; `now` is in milliseconds of the windows' clock."""
    jobs: list[ParkedJob] = []
    used = [usage.used for usage in usages]
    for job in waiting:
        demands = [*enumerate(job.demands)]
        full = [place for place, demand in demands if used[place] + demand.cost > demand.maximum]
        if full:
            lengths = {place: demand.milliseconds for place, demand in demands}
            ends = (usages[at].ends_in or (lengths[at] - now % lengths[at]) / 1000 for at in full)
            return Turn(jobs, max(ends))
        used = [used[place] + demand.cost for place, demand in demands]
        jobs.append(job)
    return Turn(jobs, look)


class Parking(Protocol):
    """Jobs that wait in lines, first come, first served. The caller sends the jobs that are woken, then calls `sent`.

    A job is kept from `park` to `sent`: a job that was woken but not sent is woken again. So a crash may send a job
    twice, but never loses it.
    """

    #: Seconds after which a woken job is woken again; the default is CALL_AGAIN.
    call_again: float
    #: Seconds after which a line for a lock is checked again; the default is LOOK.
    look: float

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job durably, replacing its owner's job in this line; then `call`, which may wake it at once.

        Its place is `since`, else the one it had, else the end.
        """

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Wake the jobs that may run now, unless the line is not due yet.

        For a free lock, the first in line; for limits, as many of the first as the windows have room for.
        """

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease on the line's lock, and its place in the line; return whether it still held the lock.

        Then the first in line is woken and holds the lock for HAND_OVER seconds.
        """

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were woken, except those that were parked again since."""

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """Up to 100 lines that are due, and the seconds until the next line is due; None when there is none."""

    def count(self, line: Line) -> int:
        """The number of jobs that wait to be woken."""

    def waiting(self, home: str) -> Iterator[ParkedJob]:
        """The jobs that wait to be woken, line by line, each line in its order; read page by page."""
