"""BusFake: records what is dispatched instead of dispatching it (Illuminate/Support/Testing/Fakes/BusFake.php).

Jobs, chains and batches are made ready to travel and then recorded, so that what cannot travel fails the test. Unique
locks are taken as for a job that is sent.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from laraq.jobs.closures import as_job
from laraq.jobs.dispatched import Dispatched
from laraq.jobs.job import Job
from laraq.local.memory.store import MemoryStore
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import delay_of
from laraq.testing.faking import Fake, Faking, dropping
from laraq.testing.matching import Target, What, listed, restored, same, shown, text_of, times
from laraq.workflow.batch import Batch, PendingBatch
from laraq.workflow.batch_service import BatchService
from laraq.workflow.chains import Chains, PendingChain

J = TypeVar("J", bound=Job)

#: How a job was dispatched.
Way = Literal["queued", "sync", "after_response"]

_WORDS: Mapping[Way | None, str] = {
    None: "dispatched",
    "queued": "dispatched",
    "sync": "dispatched synchronously",
    "after_response": "dispatched after the response",
}


@dataclass(frozen=True)
class Recorded:
    """One job as it was dispatched."""

    job: Any
    way: Way
    #: What follows it, as it was given; empty for none.
    chain: Sequence[Any] = ()

    def __str__(self) -> str:
        follows = f", followed by {' -> '.join(map(_link_text, self.chain))}" if self.chain else ""
        return f"{shown(self.job)}{'' if self.way == 'queued' else f' ({_WORDS[self.way]})'}{follows}"


class BusFake(Fake):
    """`with Bus.fake() as fake:`. Of what was dispatched it knows also after the block."""

    _facade = "Bus"

    def __init__(self, only: Any = None) -> None:
        super().__init__(only)
        self._reset()

    # -- jobs ---------------------------------------------------------------------------------------------------

    @overload
    def dispatched(self, what: type[J], where: Callable[[J], object] | None = None) -> list[J]: ...
    @overload
    def dispatched(self, what: What | None = None, where: Callable[[Any], object] | None = None) -> list[Any]: ...
    def dispatched(self, what: Any = None, where: Any = None) -> list[Any]:
        """The jobs that match, however they were dispatched; all of them without arguments."""
        target = None if what is None else Target(what, where)
        return [one.job for one in self._recorded if target is None or target.matches(one.job)]

    @overload
    def assert_dispatched(
        self, what: type[J], where: Callable[[J], object] | int | None = None, *, times: int | None = None
    ) -> None: ...
    @overload
    def assert_dispatched(
        self, what: What, where: Callable[[Any], object] | int | None = None, *, times: int | None = None
    ) -> None: ...
    def assert_dispatched(self, what: Any, where: Any = None, *, times: int | None = None) -> None:
        """It was dispatched, in whatever way: a class, a `@job` function, a job with these fields, or any job for which
        a predicate is true. `where` is one more condition; `times`, or a number in its place, is how often."""
        __tracebackhide__ = True
        self._assert(None, what, where, times)

    def assert_dispatched_sync(self, what: Any, where: Any = None, *, times: int | None = None) -> None:
        """It was dispatched by `dispatch_sync`."""
        __tracebackhide__ = True
        self._assert("sync", what, where, times)

    def assert_dispatched_after_response(self, what: Any, where: Any = None, *, times: int | None = None) -> None:
        """It was dispatched by `dispatch_after_response`."""
        __tracebackhide__ = True
        self._assert("after_response", what, where, times)

    def assert_dispatched_once(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was dispatched exactly once."""
        __tracebackhide__ = True
        self._assert(None, what, where, 1)

    def assert_dispatched_times(self, what: Any, times: int) -> None:
        """It was dispatched exactly that often."""
        __tracebackhide__ = True
        self._assert(None, what, None, times)

    def assert_not_dispatched(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was not dispatched."""
        __tracebackhide__ = True
        self._assert_not(None, what, where)

    def assert_not_dispatched_sync(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was not dispatched by `dispatch_sync`."""
        __tracebackhide__ = True
        self._assert_not("sync", what, where)

    def assert_not_dispatched_after_response(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was not dispatched by `dispatch_after_response`."""
        __tracebackhide__ = True
        self._assert_not("after_response", what, where)

    def assert_nothing_dispatched(self) -> None:
        """No job was dispatched."""
        __tracebackhide__ = True
        if self._recorded:
            raise AssertionError(f"Expected no job to be dispatched, but these were:{self._all()}")

    def assert_dispatched_without_chain(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        """It was dispatched, with nothing behind it."""
        __tracebackhide__ = True
        target = Target(what, where)
        found = self._matching(target, None)
        if not found:
            self._fail(target, None, f"Expected {target.text} to be dispatched without a chain, but it was not.")
        if all(one.chain for one in found):
            raise AssertionError(
                f"Expected {target.text} to be dispatched without a chain, but it was:{listed(map(str, found))}"
            )

    # -- chains -------------------------------------------------------------------------------------------------

    def assert_chained(self, expected: Sequence[Any]) -> None:
        """A chain of exactly these was dispatched: classes, jobs with these fields, or `Bus.chained_batch(...)`."""
        __tracebackhide__ = True
        if not expected:
            raise ValueError("An expected chain needs a job; use assert_nothing_chained for none.")
        chains = [[one.job, *one.chain] for one in self._recorded if one.chain or len(expected) == 1]
        if any(len(jobs) == len(expected) and all(map(same, expected, map(_as_link, jobs))) for jobs in chains):
            return
        wanted = " -> ".join(map(text_of, expected))
        had = [" -> ".join(map(_link_text, jobs)) for jobs in chains]
        raise AssertionError(
            f"Expected the chain {wanted}, but it was not dispatched."
            + (f" Chains:{listed(had)}" if had else " No chain was dispatched.")
        )

    def assert_nothing_chained(self) -> None:
        """No chain was dispatched."""
        __tracebackhide__ = True
        if chains := [one for one in self._recorded if one.chain]:
            raise AssertionError(f"Expected no chain to be dispatched, but these were:{listed(map(str, chains))}")

    # -- batches ------------------------------------------------------------------------------------------------

    def batched(self, where: Callable[[PendingBatch], object] | None = None) -> list[PendingBatch]:
        """The batches for which the predicate is true, as they were put together; all of them without one."""
        return [pending for pending, _ in self._batches if where is None or where(pending)]

    def dispatched_batches(self) -> list[Batch]:
        """What their `dispatch()` returned."""
        return [batch for _, batch in self._batches]

    def assert_batched(self, expected: Callable[[PendingBatch], object] | Sequence[Any]) -> None:
        """A batch was dispatched for which the predicate is true, or one of exactly these jobs, in order."""
        __tracebackhide__ = True
        if callable(expected):
            if self.batched(expected):
                return
            what = f"a batch for which {getattr(expected, '__name__', expected)!s} is true"
        else:
            if any(_are(expected, jobs_of(pending)) for pending in self.batched()):
                return
            what = f"a batch of {', '.join(map(text_of, expected)) or 'no jobs'}"
        raise AssertionError(f"Expected {what} to be dispatched, but it was not.{self._all_batches()}")

    def assert_batch_count(self, count: int) -> None:
        """So many batches were dispatched."""
        __tracebackhide__ = True
        if len(self._batches) != count:
            raise AssertionError(f"Expected {count} batches, but there are {len(self._batches)}.{self._all_batches()}")

    def assert_nothing_batched(self) -> None:
        """No batch was dispatched."""
        __tracebackhide__ = True
        if self._batches:
            raise AssertionError(f"Expected no batch to be dispatched.{self._all_batches()}")

    def assert_nothing_placed(self) -> None:
        """Neither a job nor a chain nor a batch was dispatched."""
        __tracebackhide__ = True
        self.assert_nothing_dispatched()
        self.assert_nothing_batched()

    def dispatch_fake_batch(self, name: str = "") -> Batch:
        """A batch without jobs, for code that is given one."""
        return PendingBatch([]).name(name).dispatch()

    # -- recording ----------------------------------------------------------------------------------------------

    def wants(self, job: Any) -> bool:
        """Whether it records that job."""
        return self._is_faked(lambda target: target.matches(job))

    def take(self, dispatcher: Dispatcher, job: Any, way: Way, id: object = None) -> Dispatched:
        """Record a job, made ready to travel as a dispatch would.

        Raises InvalidJobError.
        """
        assert self._faking is not None
        laraq = self._faking.laraq
        if job.prepare_for_dispatch() is False:
            return Dispatched("", skipped=True, job=job)
        payload = laraq.packer.payload(job, id or str(uuid.uuid4()), "sync" if way == "sync" else None)
        laraq.codec.check_round_trip(job)
        delay_of(job)
        if way != "sync":
            payload, holder = dispatcher.claim(payload, job)
            if holder is not None:
                return Dispatched(holder, skipped=True, job=job)
            if payload.unique:
                self._claims.append((payload.unique, job))
        follows = () if job._rest is None else tuple(job._rest.jobs)
        recorded = restored(laraq, payload) if self._restores else copy.copy(job)
        self._recorded.append(Recorded(recorded, way, follows))
        return Dispatched(payload.id, job=job)

    def take_chain(self, chains: Chains, jobs: Sequence[Any], chain: PendingChain) -> Dispatched:
        """Record a chain, made ready to travel."""
        at_once = copy.copy(chain)
        at_once._after_commit = False
        with dropping() as payloads:
            sent = chains.dispatch(jobs, at_once)
        self._claims += [(payload.unique, None) for payload in payloads if payload.unique]
        if not sent.skipped:
            self._recorded.append(Recorded(_as_link(jobs[0]), "queued", tuple(jobs[1:])))
        return sent

    def take_batch(self, service: BatchService, pending: PendingBatch) -> Batch:
        """Record a batch, made ready to travel; it is in memory and stays pending."""
        now = copy.copy(pending)
        now.waits_for_commit = False
        now.sources = pending.sources = [list(source) for source in pending.sources]
        with dropping():
            batch = service.dispatch(now)
        self._batches.append((pending, batch))
        return batch

    def _reset(self) -> None:
        self._recorded: list[Recorded] = []
        self._batches: list[tuple[PendingBatch, Batch]] = []
        self._claims: list[tuple[Mapping[str, Any], Any]] = []

    def _begin(self, faking: Faking) -> None:
        laraq = faking.laraq
        self._replaced = {
            "dispatcher": laraq.dispatcher,
            "chains": laraq.chains,
            "batches": laraq.batches,
        }
        vars(laraq).update(
            dispatcher=_Dispatcher(self, laraq.dispatcher),
            chains=_Chains(self, laraq.chains),
            batches=_Batches(self, laraq.batches),
        )

    def _end(self, faking: Faking) -> None:
        vars(faking.laraq).update(self._replaced)
        for unique, job in self._claims:  # nobody will run it, which would free its lock
            faking.laraq.unique.release(unique, job)

    def _assert(self, way: Way | None, what: Any, where: Any, wanted: int | None) -> None:
        __tracebackhide__ = True
        if isinstance(where, int) and not isinstance(where, bool):
            where, wanted = None, where
        target, word = Target(what, where), _WORDS[way]
        found = self._matching(target, way)
        if wanted is None and not found:
            self._fail(target, way, f"Expected {target.text} to be {word}, but it was not.")
        if wanted is not None and len(found) != wanted:
            how_often = times(len(found))
            self._fail(target, way, f"Expected {target.text} to be {word} {times(wanted)}, but it was {how_often}.")

    def _assert_not(self, way: Way | None, what: Any, where: Any) -> None:
        __tracebackhide__ = True
        target = Target(what, where)
        if found := self._matching(target, way):
            raise AssertionError(f"Expected {target.text} not to be {_WORDS[way]}, but:{listed(map(str, found))}")

    def _matching(self, target: Target, way: Way | None) -> list[Recorded]:
        return [one for one in self._recorded if way in (None, one.way) and target.matches(one.job)]

    def _fail(self, target: Target, way: Way | None, message: str) -> None:
        __tracebackhide__ = True
        near = []
        for one in sorted(self._recorded, key=lambda one: target.distance(one.job) if target.is_kind(one.job) else 0):
            if target.matches(one.job) and way not in (None, one.way):
                near.append(str(one))
            elif target.is_kind(one.job) and not target.matches(one.job):
                near.append(target.miss(one.job))
        raise AssertionError(f"{message} Near misses:{listed(near)}" if near else f"{message}{self._all()}")

    def _all(self) -> str:
        if not self._recorded:
            return " Nothing was dispatched."
        return f" Dispatched:{listed(map(str, self._recorded))}"

    def _all_batches(self) -> str:
        if not self._batches:
            return " No batch was dispatched."
        lines = (
            f"{pending.label or 'without a name'}: {', '.join(map(_link_text, jobs_of(pending))) or 'no jobs'}"
            for pending in self.batched()
        )
        return f" Batches:{listed(lines)}"


class _InPlaceOf:
    """A service while a BusFake is in use; what the fake does not want goes on to the real one."""

    def __init__(self, fake: BusFake, real: Any) -> None:
        self._fake = fake
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Dispatcher(_InPlaceOf):
    def dispatch(self, job: Any, *, id: object = None, connection: str | None = None, **rest: Any) -> Any:
        if not self._fake.wants(job):
            return self._real.dispatch(job, id=id, connection=connection, **rest)
        return self._fake.take(self._real, job, "after_response" if connection == "deferred" else "queued", id)

    async def adispatch(self, job: Any) -> Any:
        return self.dispatch(job)

    def dispatch_sync(self, job: Any) -> Any:
        if not self._fake.wants(job):
            return self._real.dispatch_sync(job)
        self._fake.take(self._real, job, "sync")
        return None

    def dispatch_after_response(self, job: Any) -> Any:
        return self.dispatch(job, connection="deferred")

    def bulk(self, jobs: Iterable[Any]) -> Sequence[Any]:
        return [self.dispatch(job) for job in jobs]


class _Chains(_InPlaceOf):
    def dispatch(self, jobs: Sequence[Any], chain: PendingChain) -> Any:
        if not self._fake.wants(_as_link(jobs[0])):
            return self._real.dispatch(jobs, chain)
        return self._fake.take_chain(self._real, jobs, chain)


class _Batches(_InPlaceOf):
    """Every batch is faked, also where only some jobs are, and is in memory; it is in no store that others look at."""

    def __init__(self, fake: BusFake, real: BatchService) -> None:
        super().__init__(fake, real)
        self._in_memory = copy.copy(real)
        self._in_memory.store = MemoryStore().batches

    def dispatch(self, pending: PendingBatch) -> Batch:
        return self._fake.take_batch(self._in_memory, pending)

    def find(self, id: str, counts: Mapping[str, int] | None = None) -> Any:
        return self._in_memory.find(id, counts) or self._real.find(id, counts)


def jobs_of(pending: PendingBatch) -> list[Any]:
    """The jobs of a batch that is put together; a list among them is a chain."""
    return [job for source in pending.sources for job in source]


def _as_link(thing: Any) -> Any:
    """A link of a chain as something to compare: a pending batch as it is."""
    try:
        return thing if isinstance(thing, (PendingBatch, list)) else as_job(thing)
    except Exception:  # a task of the host
        return thing


def _are(expected: Sequence[Any], jobs: Sequence[Any]) -> bool:
    return len(expected) == len(jobs) and all(map(_is, expected, jobs))


def _is(expected: Any, job: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        return isinstance(job, (list, tuple)) and _are(expected, job)
    return same(expected, _as_link(job))


def _link_text(thing: Any) -> str:
    if isinstance(thing, (list, tuple)):
        return f"[{', '.join(map(_link_text, thing))}]"
    if isinstance(thing, PendingBatch):
        return f"batch {thing.label or 'without a name'}"
    return shown(_as_link(thing))
