"""Faking: one Laraq whose connections are replaced while fakes are in use, all fakes of it together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ContextDecorator, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast
from weakref import WeakKeyDictionary

from laraq.app import Laraq, StandIn
from laraq.current import current
from laraq.local.memory.store import MemoryStore
from laraq.messages.payload import Payload
from laraq.ports import HostInTests, QueueConnection
from laraq.testing.inspection import QueuedJob, QueuedJobs
from laraq.testing.matching import Target, Task

F = TypeVar("F", bound=Callable[..., Any])

#: Where the payloads of what is sent now are kept, because the act of sending is recorded elsewhere.
_dropped: ContextVar[list[Payload] | None] = ContextVar("laraq_dropped", default=None)

_fakings: WeakKeyDictionary[Laraq, Faking] = WeakKeyDictionary()


class Recorder(Protocol):
    """A fake that sees what is sent to queues."""

    def wants(self, job: str) -> bool:
        """Whether it records jobs or tasks of that name."""

    def record(self, payload: Payload, delay: float, connection: FakeConnection) -> None:
        """A job was sent."""

    def record_task(self, task: Task) -> None:
        """A task of the host was sent."""

    def held(self, connection: str) -> Iterable[QueuedJob]:
        """The jobs that were sent through a connection."""

    def drop(self, connection: str, queue: str) -> int:
        """Forget the jobs of a queue; return how many."""


class FakeConnection:
    """A connection whose jobs a fake records; those that no fake wants go to the real one."""

    immediate = False

    def __init__(self, faking: Faking, name: str, make: Callable[[], QueueConnection]) -> None:
        self.name = name
        self._faking = faking
        self._make = make
        self._made: QueueConnection | None = None

    @property
    def real(self) -> QueueConnection:
        """The connection that is faked."""
        if self._made is None:
            self._made = self._make()
        return self._made

    @property
    def inspection(self) -> QueuedJobs:
        """Of the jobs that were recorded."""
        recorders = self._faking.recorders
        return QueuedJobs(
            lambda: [job for one in recorders for job in one.held(self.name)],
            lambda queue: sum(one.drop(self.name, queue) for one in recorders),
        )

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Record the job, or send it."""
        if (dropped := _dropped.get()) is not None:
            dropped.append(payload)
            return None
        recorder = self._faking.recorder(payload.job)
        if recorder is None:
            return self.real.push(payload, delay)
        recorder.record(payload, delay, self)
        return None

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Record those that are wanted and send the rest."""
        rest = []
        for payload, delay in payloads:
            if _dropped.get() is not None or self._faking.recorder(payload.job) is not None:
                self.push(payload, delay)
            else:
                rest.append((payload, delay))
        if rest:
            self.real.bulk(rest)

    def default_queue(self) -> str:
        """That of the real one."""
        return self.real.default_queue()


class Faking:
    """The fakes of one Laraq that are in use."""

    def __init__(self, laraq: Laraq) -> None:
        self.laraq = laraq
        self.recorders: list[Recorder] = []
        self._used = 0
        self._stack = ExitStack()

    @classmethod
    def of(cls, laraq: Laraq) -> Faking:
        """That of a Laraq, made when there is none."""
        found = _fakings.get(laraq)
        if found is None:
            found = _fakings[laraq] = cls(laraq)
        return found

    def begin(self, *, whole: bool) -> None:
        """One more fake. When the first is about the whole Laraq, its locks and batches are in memory."""
        if not self._used:
            stand_in = StandIn(lambda name, make: FakeConnection(self, name, make), MemoryStore() if whole else None)
            with ExitStack() as stack:
                stack.enter_context(self.laraq.standing_in(stand_in))
                if isinstance(self.laraq.host, HostInTests):
                    stack.enter_context(self.laraq.host.intercepting(self._task, whole=whole))
                self._stack = stack.pop_all()
        self._used += 1

    def end(self) -> None:
        """One fake less."""
        self._used -= 1
        if not self._used:
            self._stack.close()

    def recorder(self, job: str) -> Recorder | None:
        """The fake that records jobs of that name: the one that began last."""
        return next((one for one in reversed(self.recorders) if one.wants(job)), None)

    def _task(self, task: Task, _call: Callable[[], Any]) -> bool:
        """Whether a task of the host was recorded, and is not to be sent."""
        recorder = self.recorder(task.name)
        if recorder is not None:
            recorder.record_task(task)
        return recorder is not None or _dropped.get() is not None


@contextmanager
def dropping() -> Iterator[list[Payload]]:
    """What is sent meanwhile goes nowhere but into this list."""
    payloads: list[Payload] = []
    token = _dropped.set(payloads)
    try:
        yield payloads
    finally:
        _dropped.reset(token)


class Fake(ContextDecorator):
    """What Queue.fake() and Bus.fake() have in common: a context manager and a decorator."""

    #: Those whose blocks are open, innermost last.
    in_use: ClassVar[list[Fake]] = []

    _facade = ""

    def __init__(self, only: Any = None) -> None:
        self._only = None if only is None else [Target(one) for one in _several(only)]
        self._except: list[Target] = []
        self._restores = False
        self._faking: Faking | None = None

    def serialize_and_restore(self) -> Self:
        """Record each job as a worker would make it of its message, with models read anew, not as it was dispatched.

        That a job can travel, and comes back equal, is checked in any case.
        """
        self._restores = True
        return self

    def except_(self, jobs: Any) -> Self:
        """Fake all but these, which are really sent."""
        self._except += [Target(one) for one in _several(jobs)]
        return self

    def __enter__(self) -> Self:
        if self._faking is not None:
            raise RuntimeError(f"{self._facade}.fake() is in use already: make another one.")
        self._reset()
        faking = Faking.of(current())
        with ExitStack() as stack:
            faking.begin(whole=self._only is None and not self._except)
            stack.callback(faking.end)
            self._faking = faking
            self._begin(faking)
            stack.pop_all()
        Fake.in_use.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        faking, self._faking = self._faking, None
        assert faking is not None
        Fake.in_use.remove(self)
        try:
            self._end(faking)
        finally:
            faking.end()

    def __call__(self, function: F) -> F:
        """Use the fake in each call of the function, also of an async one."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def faked(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return cast("F", faked)

    def _recreate_cm(self) -> Self:  # of ContextDecorator: each call of a decorated function begins with nothing
        fake = type(self)()
        fake._only, fake._except, fake._restores = self._only, self._except, self._restores
        return fake

    def _reset(self) -> None:
        raise NotImplementedError

    def _begin(self, faking: Faking) -> None:
        raise NotImplementedError

    def _end(self, faking: Faking) -> None:
        raise NotImplementedError

    def _is_faked(self, is_one: Callable[[Target], bool]) -> bool:
        return (self._only is None or any(map(is_one, self._only))) and not any(map(is_one, self._except))


def _several(jobs: Any) -> Sequence[Any]:
    return list(jobs) if isinstance(jobs, (list, tuple, set, frozenset)) else [jobs]


def fake_in_use(facade: str, asked: str) -> Fake:
    """The fake of Queue or Bus that began last. Raises RuntimeError when there is none."""
    for fake in reversed(Fake.in_use):
        if fake._facade == facade:
            return fake
    raise RuntimeError(f"{facade}.{asked} needs a fake: with {facade}.fake(): ...")
