"""TestingQueue: `with Queue.testing() as queue:` runs jobs in the test's own process, when the test says so.

The runner, the books, retries, chains, batches, unique locks, limits and parking are the real ones, in memory; time is
the test's. Only what is the worker's own is missing: processes, so timeouts are not enforced, and crashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from laraq.app import Laraq, StandIn
from laraq.current import current
from laraq.errors import StoreError
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Delivery, Done, Fail, Obstacle, Release
from laraq.messages.failure import FailedJob
from laraq.messages.inspection import QueueState
from laraq.messages.link import Link
from laraq.messages.options import seconds
from laraq.messages.payload import Payload
from laraq.ports import HostInTests, QueueConnection
from laraq.ports.journal import RunState
from laraq.process import clock
from laraq.running.run import Run
from laraq.testing.inspection import QueuedJob, QueuedJobs
from laraq.testing.matching import Target, Task, restored

#: Jobs that one `drain` runs at most: more are taken for jobs that send themselves for ever.
MOST = 10_000


@dataclass(order=True)
class _Waiting:
    due_at: float
    number: int
    connection: str = field(compare=False)
    payload: Payload | None = field(compare=False, default=None)
    #: A task of the host, and what runs it.
    task: Task | None = field(compare=False, default=None)
    call: Callable[[], Any] | None = field(compare=False, default=None)


class TestingQueue:
    """The jobs that wait, and the worker that runs them, of the current Laraq for the length of a block."""

    __test__ = False  # no test case, whatever its name looks like to pytest

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._laraq: Laraq | None = None
        self._waiting: list[_Waiting] = []
        self._number = 0
        #: Every job that was run, in order, once for each start; tasks of the host as `Task`.
        self.ran: list[Any] = []
        self._failed: Sequence[FailedJob] = ()

    def __enter__(self) -> Self:
        if self._laraq is not None:
            raise RuntimeError("Queue.testing() is in use already: make another one.")
        laraq = current()
        with ExitStack() as stack:
            stack.enter_context(laraq.standing_in(StandIn(self._connect, MemoryStore())))
            stack.callback(clock.put_ahead, clock.ahead())
            if isinstance(laraq.host, HostInTests):
                stack.enter_context(laraq.host.intercepting(self._take_task, whole=True))
            self._laraq = laraq
            stack.callback(self._keep_failed)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        self._laraq = None

    # -- what there is ------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[Any]:
        """The jobs that wait, those that are due first in the order they will run."""
        laraq = self._in_use()
        return [restored(laraq, one.payload) if one.payload else one.task for one in sorted(self._waiting)]

    @property
    def failed(self) -> Sequence[FailedJob]:
        """The jobs that failed for good, newest first."""
        return self._failed if self._laraq is None else self._laraq.failed.all()

    @property
    def size(self) -> int:
        """How many jobs wait, due or not; parked ones aside."""
        return len(self._waiting)

    def has_run(self, what: Any, where: Callable[[Any], object] | None = None) -> int:
        """How many starts there were of what matches: a class, a `@job` function, a job, a task, a predicate."""
        target = Target(what, where)
        return sum(target.matches(job) for job in self.ran)

    # -- running ------------------------------------------------------------------------------------------------

    def drain(self, *, raise_failed: bool = True, delayed: bool = False) -> int:
        """Run jobs until none is due; say how many starts that were.

        With `delayed` the clock goes on to what is due later, backoffs and parked jobs included, until nothing waits.
        A job that fails for good raises its error here, unless `raise_failed=False`; `failed` has them all.
        """
        count = 0
        while True:
            if self._due() is not None:
                count += 1
                if count > MOST:
                    raise RuntimeError(f"drain() has run {MOST} jobs and more are due: a job may send itself for ever.")
                self.work_one(raise_failed=raise_failed)
            elif not self._wake() and not (delayed and self._go_on()):
                return count

    def work_one(self, *, raise_failed: bool = True) -> bool:
        """Start the job that is due first; False when none is."""
        self._in_use()
        due = self._due()
        if due is None:
            return False
        self._waiting.remove(due)
        if due.payload is None:
            self.ran.append(due.task)
            assert due.call is not None
            result = due.call()
            if raise_failed and getattr(result, "failed", lambda: False)():
                raise result.result
            return True
        error = self._run(due.payload, due.connection)
        self._wake()
        if error is not None and raise_failed:
            raise error
        return True

    def travel(self, by: float | timedelta) -> None:
        """Move the clock forward: seconds or a timedelta. What is due then is run by `drain`."""
        self._in_use()
        clock.put_ahead(clock.ahead() + seconds(by))

    def travel_to(self, moment: datetime) -> None:
        """Move the clock to an aware datetime. Raises ValueError for a naive one, whose moment is ambiguous."""
        self._in_use()
        if moment.tzinfo is None:
            raise ValueError(f"travel_to() needs an aware datetime, got {moment!r}: datetime.now(UTC), for example.")
        clock.put_ahead(clock.ahead() + moment.timestamp() - clock.now())

    # -- the connection -----------------------------------------------------------------------------------------

    def put(self, connection: str, payload: Payload, delay: float) -> None:
        """Keep a job until it is due; its message is one that JSON can carry."""
        message = json.dumps(payload.to_dict(), allow_nan=False)
        self._number += 1
        self._waiting.append(
            _Waiting(clock.now() + delay, self._number, connection, Payload.from_dict(json.loads(message)))
        )

    def held(self, connection: str) -> list[QueuedJob]:
        """The jobs that wait of a connection, as Queue.size() and the like count them."""
        now = clock.now()
        return [
            QueuedJob(
                one.payload.queue or _Connection.queue,
                one.payload,
                QueueState.PENDING if one.due_at <= now else QueueState.DELAYED,
            )
            for one in sorted(self._waiting)
            if one.payload is not None and one.connection == connection
        ]

    def drop(self, connection: str, queue: str) -> int:
        """Queue.clear(): drop the jobs of a queue; what they held is released."""
        laraq = self._in_use()
        dropped = [
            one
            for one in self._waiting
            if one.payload is not None
            and (one.connection, one.payload.queue or _Connection.queue) == (connection, queue)
        ]
        for one in dropped:
            self._waiting.remove(one)
            if one.payload is not None and one.payload.unique:
                laraq.unique.release(one.payload.unique, None)
        return len(dropped)

    def _connect(self, name: str, make: Callable[[], QueueConnection]) -> QueueConnection:
        if name in ("sync", "deferred", "null"):
            return make()
        laraq = self._in_use()
        configured = laraq.settings.connections.get(name)
        if isinstance(configured, dict) and configured.get("driver") not in (None, "celery"):
            return make()
        return _Connection(self, name)

    def _take_task(self, task: Task, call: Callable[[], Any]) -> bool:
        self._number += 1
        delay = float(task.options.get("countdown") or 0)
        self._waiting.append(_Waiting(clock.now() + delay, self._number, "", task=task, call=call))
        return True

    def _in_use(self) -> Laraq:
        if self._laraq is None:
            raise RuntimeError("Queue.testing() is not in use: with Queue.testing() as queue: ...")
        return self._laraq

    def _due(self) -> _Waiting | None:
        first = min(self._waiting, default=None)
        return first if first is not None and first.due_at <= clock.now() else None

    def _wake(self) -> bool:
        """Send the parked jobs that nothing stands in the way of; say whether there were any."""
        before = self._number
        while self._in_use().parking.send_due() == 0.0:
            pass
        return self._number != before

    def _go_on(self) -> bool:
        """Move the clock to the next job; False when nothing waits."""
        left = [one.due_at - clock.now() for one in self._waiting]
        if (parked := self._in_use().parking.send_due()) is not None:
            left.append(parked)
        if not left:
            return False
        self.travel(max(min(left), 0.0) + 0.001)
        return True

    def _run(self, payload: Payload, connection: str) -> BaseException | None:
        laraq = self._in_use()
        delivery = Delivery(payload, payload.attempts + 1, payload.queue or _Connection.queue, connection)
        key, start = payload.run_key, delivery.start
        laraq.run_journal.begin(key, start)
        if (start > 1 or payload.once) and not laraq.run_journal.claim(key, start):
            return None
        run = laraq.runner.run(delivery)
        self.ran.append(run.job if run.job is not None else Task(payload.job, payload.id, payload.args, {}, {}))
        settled = laraq.books.settle(run, park=self._park, journal=laraq.run_journal)
        state = RunState.DONE
        if isinstance(settled.verdict, Release):
            state = RunState.RELEASED
            if settled.parked is None:
                laraq.connection(connection).push(_again(run).with_(parked={}), settled.verdict.delay)
        elif isinstance(settled.verdict, Fail):
            state = RunState.FAILED
        laraq.run_journal.end(key, start, state, known=settled.counted)
        assert isinstance(settled.verdict, (Done, Fail, Release))
        return settled.verdict.error if isinstance(settled.verdict, Fail) else None

    def _park(self, run: Run, obstacle: Obstacle) -> bool:
        laraq, payload = self._in_use(), _again(run).with_(connection=run.delivery.connection)
        try:
            if obstacle.batch is None:
                laraq.parking.park(obstacle, payload)
            else:
                laraq.batches.hold(obstacle.batch, [Link(payload)])
        except (StoreError, ValueError):
            return False
        return True

    def _keep_failed(self) -> None:
        self._failed = self._in_use().failed.all()


class _Connection:
    """One name under which jobs are sent to the queue of a test."""

    immediate = False
    #: Where jobs go that name no queue.
    queue = "default"

    def __init__(self, testing: TestingQueue, name: str) -> None:
        self.name = name
        self._testing = testing
        self.inspection = QueuedJobs(lambda: testing.held(name), lambda queue: testing.drop(name, queue))

    def push(self, payload: Payload, delay: float = 0) -> None:
        self._testing.put(self.name, payload, delay)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return self.queue


def _again(run: Run) -> Payload:
    """The job as its next start must see it."""
    return run.payload.with_(**run.starts(), queue=run.delivery.queue or None)
