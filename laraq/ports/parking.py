"""Parking: jobs that wait for a lock or for limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from laraq.messages.delivery import Demand
from laraq.ports.limits import Usage

#: Seconds for which a lock that is freed is kept for the parked job it was handed to. Longer than a message takes to an
#: idle worker; when the queue is longer, others may run meanwhile.
HAND_OVER = 1.0

#: Seconds after which a line for a lock is looked at again: locks are also freed by those who know nothing of parking.
LOOK = 2.0

#: Seconds after which a job that was called is called again, unless it was said to be sent.
CALL_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """Where parked jobs wait for the same thing, in the order they came."""

    #: Whose jobs they are: only the same application can send them.
    home: str
    #: They wait for this lock to be free ...
    lock: str | None = None
    #: ... or for room in all of these limits.
    limits: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Names it in the store."""
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
    #: Who will hold the lock.
    owner: str
    #: What to send when it is called.
    message: str
    #: Its place in the line, by the store's clock; 0 is the end.
    since: int = 0
    #: What it asks of the line's limits, in their order.
    demands: tuple[Demand, ...] = ()


class Turn(NamedTuple):
    """Whose turn it is in a line."""

    jobs: Sequence[ParkedJob]
    #: Seconds after which to look again.
    look_in: float


def turn_at_lock(waiting: Iterable[ParkedJob], lease: float | None, look: float) -> Turn:
    """The first, unless the lock is held for another `lease` seconds."""
    return Turn([*islice(waiting, 1)], look) if lease is None else Turn([], min(look, lease))


def turn_at_limits(waiting: Iterable[ParkedJob], usages: Sequence[Usage], now: int, look: float) -> Turn:
    """As many of the first as their windows have room for; `now` in milliseconds of the clock of the windows."""
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
    """Jobs that wait in lines, first come first served. Who is called is to be sent, and then said to be `sent`.

    A job is kept from `park` to `sent`: one that was called and not sent is called again. So a crash may send it twice,
    never not at all.
    """

    #: Seconds until then: CALL_AGAIN, unless somebody sets it.
    call_again: float
    #: Seconds after which a line for a lock is looked at again: LOOK, unless somebody sets it.
    look: float

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job durably, in place of what its owner had in this line; then `call`, which may call it at once.

        Its place is `since`, or the one it had, or the end.
        """

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Call whom nothing stands in the way of now, unless the line is not due yet.

        For a lock that is free the first in line; for limits as many of the first as the windows have room for.
        """

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease on the line's lock, and its place in the line; say whether it still held the lock.

        Then the first in line is called and holds the lock for HAND_OVER seconds.
        """

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were called, but not those that were parked anew since."""

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """Up to 100 lines that are due, and the seconds until the next one is; None when there is none."""

    def count(self, line: Line) -> int:
        """How many jobs wait to be called."""
