"""QueueFake: records what is sent to queues instead of sending it (Illuminate/Support/Testing/Fakes/QueueFake.php).

Everything before the queue is real: fields are checked as they travel, options and routes apply, unique locks are taken
(in memory, unless only some jobs are faked), and jobs that wait for a commit are pushed at the commit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from laraq.events import Events, JobQueueing
from laraq.jobs import registry
from laraq.jobs.closures import CallQueuedClosure
from laraq.jobs.job import Job
from laraq.messages import options
from laraq.messages.inspection import QueueState
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq.testing.faking import Fake, FakeConnection, Faking
from laraq.testing.inspection import QueuedJob
from laraq.testing.matching import Target, Task, What, listed, restored, same, shown, text_of, times

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Pushed:
    """One job as it was pushed."""

    #: The job, or a `Task` of the host.
    job: Any
    queue: str
    #: Its name; empty for a task of the host.
    connection: str
    #: Seconds.
    delay: float = 0
    #: What would travel; None for a task of the host.
    payload: Payload | None = None
    #: What follows it.
    chain: Sequence[Any] = ()

    def __str__(self) -> str:
        delayed = f", delayed by {self.delay:g} s" if self.delay else ""
        return f"{shown(self.job)} on queue {self.queue!r}{delayed}"


class QueueFake(Fake):
    """`with Queue.fake() as fake:`. Of what was pushed it knows also after the block."""

    _facade = "Queue"

    def __init__(self, only: Any = None) -> None:
        super().__init__(only)
        self._before: list[Callable[[Pushed], object]] = []
        self._after: list[Callable[[Pushed], object]] = []
        self._reset()

    # -- what was pushed ----------------------------------------------------------------------------------------

    @overload
    def pushed(self, what: type[J], where: Callable[[J], object] | None = None) -> list[J]: ...
    @overload
    def pushed(self, what: What | None = None, where: Callable[[Any], object] | None = None) -> list[Any]: ...
    def pushed(self, what: Any = None, where: Any = None) -> list[Any]:
        """The jobs that match, in order; all of them without arguments."""
        if what is None:
            return [one.job for one in self._pushed]
        target = Target(what, where)
        return [one.job for one in self._pushed if target.matches(one.job)]

    def pushes(self) -> Sequence[Pushed]:
        """All that was pushed, each with its queue, connection, delay and payload."""
        return tuple(self._pushed)

    def size(self, queue: str | None = None) -> int:
        """How many jobs were pushed to a queue; None: to any."""
        return sum(queue is None or one.queue == queue for one in self._pushed)

    def reserve(self, what: Any = None, where: Callable[[Any], object] | None = None) -> int:
        """Let `Queue.reserved_size()` and the like tell that workers hold the jobs that match, all without arguments;
        return how many these are."""
        found = self._pushed if what is None else self._matching(Target(what, where))
        self._reserved += [one for one in found if not any(one is known for known in self._reserved)]
        return len(found)

    def clear_reserved(self) -> None:
        """Let no worker hold a job."""
        self._reserved.clear()

    def before_pushing(self, hook: Callable[[Pushed], object]) -> None:
        """Call it with each job that is about to be recorded; what it raises reaches the dispatch."""
        self._before.append(hook)

    def after_pushing(self, hook: Callable[[Pushed], object]) -> None:
        """Call it with each job that was recorded."""
        self._after.append(hook)

    # -- assertions ---------------------------------------------------------------------------------------------

    @overload
    def assert_pushed(
        self, what: type[J], where: Callable[[J], object] | int | None = None, *, times: int | None = None
    ) -> None: ...
    @overload
    def assert_pushed(
        self, what: What, where: Callable[[Any], object] | int | None = None, *, times: int | None = None
    ) -> None: ...
    def assert_pushed(self, what: Any, where: Any = None, *, times: int | None = None) -> None:
        """It was pushed: a class, a `@job` function, a Celery task or its name, a job with these fields, or any job for
        which a predicate is true. `where` is one more condition; `times`, or a number in its place, is how often."""
        __tracebackhide__ = True
        if isinstance(where, int) and not isinstance(where, bool):
            where, times = None, where
        target = Target(what, where)
        self._check(target, self._matching(target), times)

    def assert_pushed_once(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was pushed exactly once."""
        __tracebackhide__ = True
        self.assert_pushed(what, where, times=1)

    def assert_pushed_times(self, what: Any, times: int) -> None:
        """It was pushed exactly that often."""
        __tracebackhide__ = True
        self.assert_pushed(what, times=times)

    def assert_pushed_on(self, queue: str, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was pushed to that queue."""
        __tracebackhide__ = True
        target, name = Target(what, where), options.checked("queue", queue)
        found = self._matching(target)
        if any(one.queue == name for one in found):
            return
        if not found:
            self._fail(target, f"Expected {target.text} to be pushed on queue {name!r}, but it was not pushed.")
        places = ", ".join(sorted({repr(one.queue) for one in found}))
        raise AssertionError(f"Expected {target.text} on queue {name!r}, but it was pushed on {places}.")

    def assert_not_pushed(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was not pushed."""
        __tracebackhide__ = True
        target = Target(what, where)
        if found := self._matching(target):
            raise AssertionError(f"Expected {target.text} not to be pushed, but it was:{listed(map(str, found))}")

    def assert_nothing_pushed(self) -> None:
        """Nothing was pushed."""
        __tracebackhide__ = True
        if self._pushed:
            raise AssertionError(f"Expected no job to be pushed, but these were:{listed(map(str, self._pushed))}")

    def assert_count(self, count: int) -> None:
        """So many jobs were pushed."""
        __tracebackhide__ = True
        if len(self._pushed) != count:
            raise AssertionError(f"Expected {count} pushed jobs, but there are {len(self._pushed)}:{self._all()}")

    def assert_closure_pushed(
        self, where: Callable[[CallQueuedClosure], object] | int | None = None, *, times: int | None = None
    ) -> None:
        """A function that is not a job was pushed (`dispatch(lambda: ...)`)."""
        __tracebackhide__ = True
        self.assert_pushed(CallQueuedClosure, where, times=times)

    def assert_closure_not_pushed(self) -> None:
        """No function that is not a job was pushed."""
        __tracebackhide__ = True
        self.assert_not_pushed(CallQueuedClosure)

    def assert_pushed_with_chain(
        self, what: Any, chain: Sequence[Any], where: Callable[[Any], object] | None = None
    ) -> None:
        """It was pushed with exactly these behind it: classes, jobs with these fields, or `Bus.chained_batch(...)`."""
        __tracebackhide__ = True
        if not chain:
            raise ValueError("An expected chain needs a link; use assert_pushed_without_chain for none.")
        target = Target(what, where)
        found = self._matching(target)
        if not found:
            self._fail(target, f"Expected {target.text} to be pushed with a chain, but it was not pushed.")
        if not any(len(chain) == len(one.chain) and all(map(same, chain, one.chain)) for one in found):
            wanted = " -> ".join(map(text_of, chain))
            had = listed(" -> ".join(map(shown, one.chain)) or "no chain" for one in found)
            raise AssertionError(f"Expected {target.text} to be followed by {wanted}, but it was pushed with:{had}")

    def assert_pushed_without_chain(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was pushed, with nothing behind it."""
        __tracebackhide__ = True
        target = Target(what, where)
        found = self._matching(target)
        if not found:
            self._fail(target, f"Expected {target.text} to be pushed without a chain, but it was not pushed.")
        if all(one.chain for one in found):
            had = listed(" -> ".join(map(shown, one.chain)) for one in found)
            raise AssertionError(f"Expected {target.text} to be pushed without a chain, but it is followed by:{had}")

    # -- recording ----------------------------------------------------------------------------------------------

    def wants(self, job: str) -> bool:
        """Whether it records jobs or tasks of that name."""
        cls = registry.get(job)
        return self._is_faked(lambda target: target.names(job, cls))

    def record(self, payload: Payload, delay: float, connection: FakeConnection) -> None:
        """Keep the job that was sent. Raises InvalidJobError when a worker would get another one."""
        assert self._faking is not None
        laraq = self._faking.laraq
        job = self._jobs.pop(payload.id, None)
        if job is not None:
            laraq.codec.check_round_trip(job)
        job = restored(laraq, payload) if job is None or self._restores else copy.copy(job)
        queue = payload.queue or connection.default_queue()
        chain = [restored(laraq, Link.from_dict(link).payload) for link in payload.chain.get("rest", ())]
        self._keep(Pushed(job, queue, connection.name, delay, payload, chain))

    def record_task(self, task: Task) -> None:
        """Keep the task that was sent."""
        self._keep(Pushed(task, str(task.options.get("queue")), "", task.options.get("countdown") or 0))

    def _keep(self, pushed: Pushed) -> None:
        for hook in self._before:
            hook(pushed)
        self._pushed.append(pushed)
        for hook in self._after:
            hook(pushed)

    def held(self, connection: str) -> list[QueuedJob]:
        """The jobs that were pushed through a connection, as Queue.size() and the like count them."""
        return [
            QueuedJob(one.queue, one.payload, self._state(one))
            for one in self._pushed
            if one.payload is not None and one.connection == connection
        ]

    def drop(self, connection: str, queue: str) -> int:
        """Queue.clear(): forget the jobs of a queue."""
        kept = [one for one in self._pushed if (one.connection, one.queue) != (connection, queue)]
        dropped = len(self._pushed) - len(kept)
        self._pushed[:] = kept
        return dropped

    def _reset(self) -> None:
        self._pushed: list[Pushed] = []
        self._reserved: list[Pushed] = []
        #: Jobs about to be pushed, by id.
        self._jobs: dict[str, Any] = {}

    def _begin(self, faking: Faking) -> None:
        faking.recorders.append(self)
        self._unlisten = Events.listen(JobQueueing, self._about_to_be_pushed)

    def _end(self, faking: Faking) -> None:
        self._unlisten()
        faking.recorders.remove(self)
        for one in self._pushed:  # nobody will run it, which would free its lock
            if one.payload is not None and one.payload.unique:
                faking.laraq.unique.release(one.payload.unique, one.job if isinstance(one.job, Job) else None)

    def _about_to_be_pushed(self, event: JobQueueing) -> None:
        if event.job is not None:
            self._jobs[event.payload.id] = event.job

    def _state(self, pushed: Pushed) -> QueueState:
        if any(pushed is one for one in self._reserved):
            return QueueState.RESERVED
        return QueueState.DELAYED if pushed.delay else QueueState.PENDING

    def _matching(self, target: Target) -> list[Pushed]:
        return [one for one in self._pushed if target.matches(one.job)]

    def _check(self, target: Target, found: Sequence[Pushed], wanted: int | None) -> None:
        __tracebackhide__ = True
        if wanted is None and not found:
            self._fail(target, f"Expected {target.text} to be pushed, but it was not.")
        if wanted is not None and len(found) != wanted:
            how_often = times(len(found))
            self._fail(target, f"Expected {target.text} to be pushed {times(wanted)}, but it was pushed {how_often}.")

    def _fail(self, target: Target, message: str) -> None:
        __tracebackhide__ = True
        near = [one.job for one in self._pushed if target.is_kind(one.job) and not target.matches(one.job)]
        if near:
            nearest = map(target.miss, sorted(near, key=target.distance))
            raise AssertionError(f"{message} Near misses:{listed(nearest)}")
        raise AssertionError(f"{message}{self._all()}")

    def _all(self) -> str:
        if not self._pushed:
            return " Nothing was pushed."
        return f" Pushed:{listed(map(str, self._pushed))}"
