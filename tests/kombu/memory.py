"""A broker of a third kind, in memory: the store is all that laraq_kombu needs to make a transport of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kombu.transport import TRANSPORT_ALIASES

from laraq_kombu import RETRY_AFTER, Job, Lease, Posting, Put, QueueCount, Route, Taken, lease_seconds
from laraq_kombu.routing import RoutingStore, RoutingTransport
from laraq_kombu.transport import StoreTransport


@dataclass
class Row:
    posting: Posting
    #: When it may be handed out, nanoseconds.
    due: int
    attempts: int = 0
    reserved_at: int | None = None


@dataclass
class Contents:
    """What a broker holds."""

    rows: dict[int, Row] = field(default_factory=dict)
    puts: dict[tuple[int, int], Put] = field(default_factory=dict)
    #: Until when, nanoseconds; None: for ever.
    routes: dict[Route, int | None] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.RLock = field(default_factory=threading.RLock)


#: By virtual host.
BROKERS: dict[str, Contents] = {}


class MemoryStore(RoutingStore):
    def __init__(self, name: str, retry_after: float) -> None:
        self.retry_after = retry_after
        self._has = BROKERS.setdefault(name, Contents())

    def close(self) -> None:
        """Nothing is held open."""

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        with self._has.lock:
            for lease in acks:
                self._has.rows.pop(lease.id, None)
            return self._hand_out(queues, limit)

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        with self._has.lock:
            taken = self._hand_out(queues, limit)
            for job in taken.jobs:
                del self._has.rows[job.lease.id]
            return taken

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        def renew(row: Row) -> None:
            row.due = _in(self.retry_after)

        return self._change(leases, renew)

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        def free(row: Row) -> None:
            row.due, row.reserved_at = _in(delay), None
            row.attempts -= 0 if counted else 1

        return self._change(leases, free)

    def put(self, postings: Sequence[Posting], put: Put | None = None) -> None:
        with self._has.lock:
            if put is not None and self._has.puts.get((put.writer, put.slot)) == put:
                return
            for posting in postings:
                self._has.rows[next(self._has.ids)] = Row(posting, _in(posting.delay))
            if put is not None:
                self._has.puts[put.writer, put.slot] = put

    def count(self, queue: str) -> QueueCount:
        with self._has.lock:
            rows, now = self._of(queue), time.time_ns()
            free = [row for row in rows.values() if row.reserved_at is None]
            pending = sum(row.due <= now for row in free)
            return QueueCount(pending, len(free) - pending, len(rows) - len(free))

    def purge(self, queue: str) -> int:
        with self._has.lock:
            free = [id for id, row in self._of(queue).items() if row.reserved_at is None]
            return len([self._has.rows.pop(id) for id in free])

    def bind(self, route: Route, expires_in: float | None) -> None:
        self._has.routes[route] = None if expires_in is None else _in(expires_in)

    def unbind(self, queue: str) -> None:
        with self._has.lock:
            for route in [route for route in self._has.routes if route.queue == queue]:
                del self._has.routes[route]
            for id in self._of(queue):
                del self._has.rows[id]

    def routes(self, exchange: str) -> Sequence[Route]:
        now, known = time.time_ns(), list(self._has.routes.items())
        return [route for route, until in known if route.exchange == exchange and (until is None or until > now)]

    def renew(self, queues: Sequence[str], expires_in: float) -> None:
        for route, until in list(self._has.routes.items()):
            if until is not None and route.queue in queues:
                self._has.routes[route] = _in(expires_in)

    def sweep(self) -> int:
        now, known = time.time_ns(), list(self._has.routes.items())
        over = [route for route, until in known if until is not None and until <= now]
        for route in over:
            self.unbind(route.queue)
        return len(over)

    def _of(self, queue: str) -> dict[int, Row]:
        return {id: row for id, row in self._has.rows.items() if row.posting.queue == queue}

    def _hand_out(self, queues: Sequence[str], limit: int) -> Taken:
        now, until, jobs = time.time_ns(), _in(self.retry_after), list[Job]()
        for queue in queues:
            due = [(id, row) for id, row in self._of(queue).items() if row.due <= now]
            due.sort(key=lambda found: (-found[1].posting.priority, found[1].due, found[0]))
            for id, row in due[: limit - len(jobs)]:
                row.attempts, row.reserved_at, row.due = row.attempts + 1, now, until
                jobs.append(Job(Lease(id, queue, row.attempts, now), str(row.posting.payload)))
        times = [row.due for queue in queues for row in self._of(queue).values()] if len(jobs) < limit else []
        return Taken(jobs, max(min(times) - now, 0) / 1e9 if times else None)

    def _change(self, leases: Sequence[Lease], change: Callable[[Row], None]) -> Sequence[Lease]:
        with self._has.lock:
            lost = []
            for lease in leases:
                row = self._has.rows.get(lease.id)
                if row is None or (row.attempts, row.reserved_at) != (lease.attempts, lease.reserved_at):
                    lost.append(lease)
                else:
                    change(row)
            return lost


def _in(seconds: float) -> int:
    return time.time_ns() + int(seconds * 1e9)


class MemoryTransport(RoutingTransport):
    driver_type = driver_name = "laraq-memory"

    def open_store(self) -> MemoryStore:
        retry_after = lease_seconds(self.client.transport_options.get("retry_after", RETRY_AFTER))
        return MemoryStore(self.client.virtual_host, retry_after)


class PlainTransport(StoreTransport):
    """The same without the bindings: eight operations of the store are used, `step` to `purge` and `close`."""

    driver_type = driver_name = "laraq-plain"
    open_store = MemoryTransport.open_store


TRANSPORT_ALIASES["laraq-memory"] = f"{__name__}:MemoryTransport"
TRANSPORT_ALIASES["laraq-plain"] = f"{__name__}:PlainTransport"
