"""Ledger: the leases a process holds on one broker, and the acknowledgements it owes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from laraq.process.forks import after_fork
from laraq_kombu.lease import Lease

#: Most jobs reserved in one step: bounds the latency of a step and the jobs of a dying worker.
BATCH = 64

#: Seconds that an acknowledgement may wait for others. A crash in between repeats the job, but never loses it.
ACK_LINGER = 0.02


class Ledger:
    """Outlives channels and connections, so a reconnect neither repeats a running job nor forgets its end.

    An acknowledgement moves a lease from held to owed; both are renewed, because a finished job whose
    acknowledgement cannot be sent yet must not come back either. Safe to use from several threads; a forked
    child starts with an empty one, since the leases are its parent's.
    """

    def __init__(self, max_lease: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        #: Seconds after which a held lease is no longer renewed; None: as long as the process lives.
        self.max_lease = max_lease
        self._clock = clock
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Lease, float]] = {}
        self._owed: deque[Lease] = deque()
        self._owed_since = 0.0
        #: Tags of owed acknowledgements, also while they are being sent.
        self._unpaid: set[str] = set()

    def hold(self, leases: Iterable[Lease]) -> None:
        """Renew these leases from now on."""
        now = self._clock()
        with self._lock:
            for lease in leases:
                self._held[lease.tag] = (lease, now)

    def settle(self, tag: str) -> bool:
        """Owe an acknowledgement; False if the tag is not held (settled before, or dropped)."""
        with self._lock:
            entry = self._held.pop(tag, None)
            if entry is None:
                return False
            if not self._owed:
                self._owed_since = self._clock()
            self._owed.append(entry[0])
            self._unpaid.add(tag)
            return True

    def drop(self, tag: str) -> Lease | None:
        """Stop renewing; return the lease if it was held, for the caller to release."""
        with self._lock:
            entry = self._held.pop(tag, None)
            return entry[0] if entry else None

    def collect(self, limit: int = BATCH) -> list[Lease]:
        """Take acknowledgements out to send them; the caller calls `paid`, or `repay` for those it failed to send."""
        with self._lock:
            return [self._owed.popleft() for _ in range(min(limit, len(self._owed)))]

    def repay(self, leases: Iterable[Lease]) -> None:
        """Owe acknowledgements again that could not be sent."""
        with self._lock:
            self._owed.extendleft(reversed(list(leases)))
            self._owed_since = self._clock()

    def paid(self, leases: Iterable[Lease]) -> None:
        """Note that the store has these acknowledgements."""
        with self._lock:
            self._unpaid.difference_update([lease.tag for lease in leases])

    def is_open(self, tag: str) -> bool:
        """Whether the lease is held, or its acknowledgement is not known to be sent."""
        return tag in self._held or tag in self._unpaid

    def flush_in(self, now: float) -> float | None:
        """Seconds until the owed acknowledgements should be sent, 0 for at once, None when there are none."""
        owed = len(self._owed)
        if not owed:
            return None
        if owed >= BATCH:
            return 0.0
        return max(self._owed_since + ACK_LINGER - now, 0.0)

    def renewable(self) -> list[Lease]:
        """The leases that a heartbeat extends: all held ones not older than `max_lease`, and all owed ones."""
        oldest = self._clock() - self.max_lease if self.max_lease is not None else float("-inf")
        with self._lock:
            return [lease for lease, since in self._held.values() if since >= oldest] + list(self._owed)

    def __len__(self) -> int:
        return len(self._held) + len(self._owed)
