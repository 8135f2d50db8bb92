"""The life of batches: sends their jobs, counts the outcomes, and queues their callbacks.

An outcome reported twice is counted once (`ports.BatchCounts`). A callback's job has an id derived from batch and
event, and the event is marked as sent only afterwards: a crash in between sends the same job again, and it starts once.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain as concatenated
from itertools import islice
from typing import Any, TypeAlias

from laraq import events
from laraq.context import Context
from laraq.errors import BatchCancelledError, BatchNotFoundError, JobDefinitionError, JobDroppedError, JobFailure
from laraq.events import Events
from laraq.jobs import registry
from laraq.messages.link import Link, dropped_with
from laraq.messages.payload import Payload
from laraq.messages.tally import (
    AWAITED,
    CLOSED,
    COUNTED_EVENTS,
    EVENTS_OF_JOBS,
    FIRST_LOAD,
    LOAD_SECONDS,
    BatchQuery,
    BatchRecord,
    MemberState,
    Success,
    Tally,
    as_of,
    awaited,
    awaits,
    closes,
    counts_at,
    due,
    lacks_catch,
    mark,
)
from laraq.ports import Batches
from laraq.process import clock
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import Packer, wanted
from laraq.workflow.batch import Batch, PendingBatch
from laraq.workflow.callbacks import Callbacks, derived_id, describe
from laraq.workflow.chains import Chains, PendingChain
from laraq.workflow.held import HeldJobs

logger = logging.getLogger("laraq.batches")

#: Jobs that are added by one statement and sent together; fewer at first, so that workers begin at once.
FIRST_CHUNK, CHUNK = 100, 1000

#: `LOAD_SECONDS` for a batch in a chain: its message is redelivered when its sender died, and continues the batch.
CHAIN_SECONDS = 24 * 3600.0

#: Seconds after the end of a batch at which the reconciler finishes it, if it is still unfinished.
OVERDUE_SECONDS = 30.0

#: Most batches that a process remembers as begun.
_BEGUN = 1000

#: A job with the ids that are counted: its own, and those of the links after it.
Member: TypeAlias = tuple[Link, list[str]]
Chunk: TypeAlias = list[Member]


class BatchService:
    """The batches of one Laraq."""

    def __init__(
        self,
        store: Batches,
        packer: Packer,
        dispatcher: Dispatcher,
        callbacks: Callbacks,
        chains: Chains,
        held: HeldJobs,
        around: Callable[[Mapping[str, Any]], AbstractContextManager[None]],
    ) -> None:
        """`around` returns the context manager in which jobs and callbacks with that context run."""
        self.store = store
        self.held = held
        self._packer = packer
        self._dispatcher = dispatcher
        self._callbacks = callbacks
        self._chains = chains
        self._around = around
        #: Ids of batches known to this process as past their `before`, oldest first.
        self._begun: dict[str, None] = {}

    # -- queries and commands -----------------------------------------------------------------------------------

    def find(self, id: str, counts: Mapping[str, int] | None = None) -> Batch | None:
        """The batch, or None; with `counts`, as it was when it had these counts."""
        record = self.store.find(id)
        return None if record is None else Batch(as_of(record, counts or {}), self)

    def all(self, query: BatchQuery | None = None) -> list[Batch]:
        """The batches that match, newest first."""
        return [Batch(record, self) for record in self.store.all(query)]

    def cancel(self, id: str) -> None:
        """Cancel the batch; its queued jobs check that themselves.

        Raises BatchNotFoundError.
        """
        tally = self.store.cancel(id)
        if tally is None:
            raise BatchNotFoundError(id)
        self._emit(events.BatchCancelled, id)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete batches; return how many existed."""
        return self._forget(BatchQuery(ids=tuple(ids)))

    def prune(
        self,
        finished_before: datetime,
        unfinished_before: datetime | None = None,
        cancelled_before: datetime | None = None,
    ) -> int:
        """Delete batches that finished before a moment, and unfinished or cancelled ones created before others."""
        pruned = self.store.delete(BatchQuery(finished_before=finished_before))
        if unfinished_before is not None:
            pruned += self._forget(BatchQuery(finished=False, created_before=unfinished_before))
        if cancelled_before is not None:
            pruned += self._forget(BatchQuery(cancelled=True, created_before=cancelled_before))
        return pruned

    def _forget(self, query: BatchQuery) -> int:
        """Delete batches. An unfinished batch that is a link of a chain breaks the chain: nothing would continue it."""
        with self._around(Context.all()):
            for record in self.store.all(query):
                if record.finished_at is None and "chain" in record.wants - record.sent:
                    error = JobDroppedError(f"Batch {record.name or record.id} was deleted before it had finished")
                    if record.cancelled_at is None:
                        self._break_chain(record, describe(error))
                    self._drop_chain(record)
        return self.store.delete(query)

    def reopen(self, payload: Payload) -> None:
        """Make a failed job of a batch pending again before it is resent.

        Called before the job is sent, as it may end at once. After a crash in between, its failed record still exists.
        """
        if payload.batch_id is not None and payload.event is None:
            self.store.settle(payload.batch_id, MemberState.PENDING, payload.id)

    # -- sending ------------------------------------------------------------------------------------------------

    def dispatch(self, pending: PendingBatch) -> Batch:
        """Create a batch and send its jobs."""
        id = str(uuid.uuid4())
        record = self._record(id, pending)
        chunks = _chunks(self._members(concatenated(*pending.sources), record))
        session = self._dispatcher.held_by(pending.waits_for_commit, pending.connection)
        if session is None:
            self._create(record, chunks)
            return self.find(id) or Batch(record, self)
        made = list(chunks)  # all of them now: the iterable may need the transaction
        self._dispatcher.defer(partial(self._create, record, iter(made)), _nothing, session)
        return Batch(replace(record, total=sum(len(_ids(chunk)) for chunk in made), loads=1), self)

    def describe(self, pending: PendingBatch) -> dict[str, Any]:
        """A batch as it is sent in a chain."""
        record = self._record("", pending)
        members = [outgoing.to_dict() for outgoing, _ in self._members(concatenated(*pending.sources), record)]
        return {
            "name": record.name,
            "options": dict(record.options),
            "wants": sorted(record.wants),
            "allow_failures": record.allow_failures,
            "members": members,
        }

    def start(self, described: Mapping[str, Any], parent: Payload) -> None:
        """Send a batch that is the next link of a chain; once it has finished, the chain goes on."""
        id = derived_id(parent.run_key, "batch")
        chain = {"chain": dict(parent.chain), "root_id": parent.carrier.get("root_id") or parent.id}
        place = {name: described["options"].get(name) or getattr(parent, name) for name in ("queue", "connection")}
        record = BatchRecord(
            id=id,
            name=described["name"],
            options={**described["options"], **place, **(chain if parent.chain else {})},
            wants=frozenset([*described["wants"], *(("chain",) if parent.chain else ())]),
            allow_failures=described["allow_failures"],
        )
        links = [_of_batch(Link.from_dict(member), id, place) for member in described["members"]]
        chunks = _chunks((link, [link.id, *dropped_with(link.payload)]) for link in links)
        self._load_first(record, next(chunks, []), chunks, CHAIN_SECONDS)

    def add(self, id: str, jobs: Any) -> None:
        """Send more jobs of a batch."""
        record = self.store.find(id)
        if record is None:
            raise BatchNotFoundError(id)
        load = uuid.uuid4().hex
        try:
            for chunk in _chunks(self._members(concatenated(*PendingBatch(jobs).sources), record)):
                if self.store.add(id, load, _ids(chunk), LOAD_SECONDS) is None:
                    raise BatchCancelledError(id)
                self._send(record, chunk)
        except BaseException:
            self.store.end_load(id, load, keep=False)
            raise
        self._advance(self.store.end_load(id, load))

    # -- outcomes -----------------------------------------------------------------------------------------------

    def succeeded(self, payload: Payload) -> None:
        """Count a job of a batch as succeeded.

        Raises StoreError, DispatchError; may be repeated.
        """
        self._settle(payload, MemberState.DONE)

    def succeeded_together(self, id: str, successes: Sequence[Success]) -> None:
        """Count jobs of one batch as succeeded in one step, called by another process than the one that ran them.

        Raises StoreError, DispatchError; may be repeated.
        """
        with self._around(successes[-1].context):
            settled = self.store.settle(id, MemberState.DONE, *(success.job for success in successes))
            if settled is None:
                return
            if settled.changed and settled.tally.done + settled.tally.failed <= len(successes):
                self._emit_once(events.BatchStarted, "started", settled.tally)
            self._advance(settled.tally, MemberState.DONE, [success.key for success in successes])

    def failed(self, payload: Payload, error: BaseException, *, discreet: bool = False) -> None:
        """Count a job of a batch as failed for good, and the links after it as dropped.

        Raises StoreError, DispatchError; may be repeated.
        """
        self._settle(payload, MemberState.FAILED, error, discreet=discreet)

    def dropped(self, payload: Payload) -> None:
        """Count a job of a batch, and the links after it, as never to run.

        Raises StoreError, DispatchError; may be repeated.
        """
        self._settle(payload, MemberState.DROPPED)

    def failed_together(
        self, id: str, payloads: Sequence[Payload], error: BaseException, *, discreet: bool = False
    ) -> None:
        """Count jobs of one batch as never to run, for the same reason, in one step.

        Raises StoreError, DispatchError; may be repeated.
        """
        dropped = [link for payload in payloads for link in dropped_with(payload)]
        settled = self.store.settle(id, MemberState.FAILED, *(payload.id for payload in payloads), dropped=dropped)
        if settled is None:
            return
        tally = settled.tally
        if settled.changed:
            if tally.done + tally.failed <= len(payloads):
                self._emit_once(events.BatchStarted, "started", tally)
            if tally.failed <= len(payloads) and not tally.allow_failures:
                self._emit_once(events.BatchCancelled, "cancelled", tally, error)
        keys = [payload.run_key for payload in payloads]
        self._advance(tally, MemberState.FAILED, keys, describe(error, discreet=discreet))

    def called(self, payload: Payload) -> None:
        """Note that a callback has ended, however it ended, and start what waits for it.

        Raises StoreError, DispatchError; may be repeated.
        """
        if payload.batch_id is None or payload.event is None:
            return
        record = self.store.find(payload.batch_id)
        if record is None:
            if payload.event == "before":  # deleted: its jobs run without it
                self.held.send(payload.batch_id, {"queue": payload.queue, "connection": payload.connection})
        else:
            for number, _ in enumerate(_callbacks(record, payload.event)):
                if payload.id == derived_id(record.id, payload.event, number):
                    self._end_wait(record, payload.event, number)

    def has_succeeded(self, payload: Payload) -> bool:
        """Whether the job is counted as succeeded; the journal need not note what the batch has counted."""
        return (
            payload.batch_id is not None
            and not payload.event
            and self.store.state(payload.batch_id, payload.id) is MemberState.DONE
        )

    def reconcile(self) -> None:
        """Finish what senders and workers left undone when they died."""
        with self._around(Context.all()):
            for id, load in self.store.lapsed():
                if load == FIRST_LOAD:
                    logger.error("Batch %s is cancelled: the process that was sending its jobs died", id)
                    self._forgo(id)
                    self.store.cancel(id)
                self._advance(self.store.end_load(id, load, keep=False))
            for id in self.store.overdue(OVERDUE_SECONDS):
                record = self.store.find(id)
                if record is not None and lacks_catch(record):
                    error = JobFailure("A job of the batch failed, and its worker died before it reported the error")
                    self._advance(record, MemberState.FAILED, (), describe(error))
                else:
                    self._advance(record)

    def _forgo(self, id: str) -> None:
        """Give up `then`, because some jobs were never sent, and a `before` that was not sent either."""
        record = self.store.find(id)
        for want in () if record is None else record.wants:
            event = want.partition(".")[0]
            if event == "then" or (event == "before" and record is not None and event not in record.sent):
                self.store.mark(id, want)

    def _settle(
        self, payload: Payload, outcome: MemberState, error: BaseException | None = None, *, discreet: bool = False
    ) -> None:
        assert payload.batch_id is not None
        dropped = () if outcome is MemberState.DONE else dropped_with(payload)
        settled = self.store.settle(payload.batch_id, outcome, payload.id, dropped=dropped)
        if settled is None:
            return
        tally = settled.tally
        if settled.changed:
            if tally.done + tally.failed == 1:
                self._emit_once(events.BatchStarted, "started", tally)
            if outcome is MemberState.FAILED and tally.failed == 1 and not tally.allow_failures:
                self._emit_once(events.BatchCancelled, "cancelled", tally, error)
        described = None if error is None else describe(error, discreet=discreet)
        self._advance(tally, outcome, [payload.run_key], described)

    def _advance(
        self,
        tally: Tally | None,
        outcome: MemberState | None = None,
        keys: Sequence[str] = (),
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Send the callbacks that are due and, when the batch is complete, what follows it.

        `keys` are those of the jobs with this outcome.
        """
        if tally is None:
            return
        coming = due(tally, outcome)
        breaks = outcome is MemberState.FAILED and not tally.allow_failures and "chain" in tally.wants - tally.sent
        if not (coming or closes(tally) or breaks):
            return
        record = self.store.find(tally.id)
        if record is None:
            return
        for event in coming:
            why = error if event in ("catch", "failure") else None
            if event in EVENTS_OF_JOBS:
                for later, key in zip(reversed(range(len(keys))), keys, strict=True):
                    self._fire(record, event, key, error=why, counts=counts_at(tally, outcome, later))
            else:
                counts = counts_at(tally, outcome, 0) if event in COUNTED_EVENTS else {}
                self._fire(record, event, error=why, counts=counts)
                self.store.mark(record.id, event)
        if breaks and error is not None:
            self._break_chain(record, error)
            self.store.mark(record.id, "chain")
        if (
            "catch" in coming and (tally := self.store.find(record.id)) is None
        ):  # complete meanwhile, and left to this process?
            return
        if closes(tally):
            if record.cancelled_at:
                self._drop_chain(record)
            elif "chain" in record.wants - record.sent:
                self._chains.proceed(_as_link(record))
                self.store.mark(record.id, "chain")
            if self.store.mark(record.id, CLOSED):
                Events.emit(events.BatchFinished, Batch(record, self))

    def _fire(
        self,
        record: BatchRecord,
        event: str,
        key: str = "",
        *,
        error: Mapping[str, Any] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Queue the callbacks of an event; `key` is the job's, for callbacks that are due for every job.

        They get the batch with these counts, or as it is when they are called.
        """
        parts = (record.id, event, key) if event in EVENTS_OF_JOBS else (record.id, event)
        for number, packed in enumerate(_callbacks(record, event)):
            sent = self._callbacks.send(
                packed,
                derived_id(*parts, number),
                about=f"{event} of batch {record.name or record.id}",
                batch=Batch(as_of(record, counts or {}), self),
                event=event,
                error=error,
                counts=counts,
                **_place(record),
            )
            if not sent and event in AWAITED:  # the same unique job is queued already
                self._end_wait(record, event, number)

    def _end_wait(self, record: BatchRecord, event: str, number: int) -> None:
        """Note that one callback has ended, then check: a process that completes the batch meanwhile does the same."""
        if (over := mark(event, number)) not in record.wants:
            return
        self.store.mark(record.id, over)
        found = self.store.find(record.id)
        if found is None:
            return
        if event == "before" and not awaits(found, "before"):
            self.held.send(found.id, _place(found))
            self._advance(found)  # it may have no jobs
        elif "finally" in due(found):
            self._fire(found, "finally")
            self.store.mark(found.id, "finally")

    def _break_chain(self, record: BatchRecord, error: Mapping[str, Any]) -> None:
        """Stop the chain of which the batch was a link."""
        chain = record.options["chain"]
        for number, packed in enumerate(chain.get("catch", ())):
            id = derived_id(record.id, "chain", "catch", number)
            place = {"queue": chain.get("queue"), "connection": chain.get("connection")}
            self._callbacks.send(packed, id, about=f"catch of batch {record.name or record.id}", error=error, **place)

    def _drop_chain(self, record: BatchRecord) -> None:
        """Drop the links after the batch; a batch that they belong to must not wait for them."""
        links = [Link.from_dict(link) for link in record.options.get("chain", {}).get("rest", ())]
        known = [link for link in links if link.payload.batch_id is not None and not link.joins]
        if known:
            first, *others = known
            outer = str(first.payload.batch_id)
            settled = self.store.settle(outer, MemberState.DROPPED, first.id, dropped=[link.id for link in others])
            if settled is not None:
                self._advance(settled.tally)

    # -- parts --------------------------------------------------------------------------------------------------

    def _record(self, id: str, pending: PendingBatch) -> BatchRecord:
        callbacks = {
            event: [self._packer.callback(one) for one in several] for event, several in pending.callbacks.items()
        }
        options = {
            "queue": pending.queue,
            "connection": pending.connection,
            "callbacks": callbacks,
            "own": pending.options,
        }
        return BatchRecord(
            id=id,
            name=pending.label,
            allow_failures=pending.failures_allowed,
            wants=frozenset(callbacks) | awaited(callbacks),
            options={name: value for name, value in options.items() if value},
        )

    def _members(self, jobs: Iterable[Any], record: BatchRecord) -> Iterator[Member]:
        """Yield each job with the ids that are counted: its own, and those of the links after it."""
        place = _place(record)
        for thing in wanted(jobs):
            if thing is None or thing is False:
                continue
            if isinstance(thing, PendingBatch):
                raise JobDefinitionError(
                    "A batch cannot be a job of a batch: put it into a chain, Bus.chain([Bus.batch([...])])."
                )
            if isinstance(thing, (list, tuple)):
                thing = PendingChain(thing)
            if isinstance(thing, PendingChain):
                if not [*wanted(thing.jobs()[:1])]:
                    continue  # without its first job it never begins
                link = self._chains.head(thing, **place, batch_id=record.id)
            else:
                link = self._packer.link(thing, **place, batch_id=record.id, later=False)
            yield link, [link.id, *dropped_with(link.payload)]

    def _create(self, record: BatchRecord, chunks: Iterator[Chunk]) -> None:
        """Create a batch and send its jobs; if that fails, delete the batch."""
        first = next(chunks, [])
        try:
            self._load_first(record, first, chunks, LOAD_SECONDS)
        except BaseException:
            self.delete([record.id])
            if awaits(record, "before"):
                self.held.forget(record.id)
            raise

    def _load_first(self, record: BatchRecord, first: Chunk, more: Iterator[Chunk], seconds: float) -> None:
        """Send the jobs with which a batch is created; a second call continues the same batch."""
        self.store.create(record, _ids(first), seconds)
        if "before" in record.wants:
            self._fire(record, "before")
            self.store.mark(record.id, "before")
        self._send(record, first)
        for chunk in more:
            if self.store.add(record.id, FIRST_LOAD, _ids(chunk), seconds) is None:
                return  # deleted meanwhile
            self._send(record, chunk)
        tally = self.store.end_load(record.id, FIRST_LOAD)
        self._emit(events.BatchDispatched, record.id)
        self._advance(tally)

    def _send(self, record: BatchRecord, chunk: Chunk) -> None:
        """Send members; those that laraq's workers do not check before the start are held until `before` is over."""
        now, context = clock.now(), Context.all()
        links = [link.with_(created_at=now, context=context) for link, _ in chunk]
        if awaits(record, "before") and self.is_before(record.id):
            links = [link.with_(waits=1) for link in links]
            held = [link for link in links if self._starts_unseen(link.payload)]
            links = [link for link in links if not self._starts_unseen(link.payload)]
            if held:
                self.hold(record.id, held)
        self._dispatcher.send_all((link.payload, link.delay, None) for link in links)

    def _starts_unseen(self, payload: Payload) -> bool:
        """Whether it is a task of the host, or a job of a connection that runs jobs at once."""
        return not registry.knows(payload.job) or self._dispatcher.runs_at_once(payload.connection)

    def is_before(self, id: str) -> bool:
        """Whether the jobs of the batch must not start yet. For a batch that has begun, the store is read once."""
        if id in self._begun:
            return False
        found = self.store.find(id)
        if found is not None and awaits(found, "before"):
            return True
        self._begun[id] = None
        while len(self._begun) > _BEGUN:
            with suppress(StopIteration, KeyError, RuntimeError):  # other threads
                del self._begun[next(iter(self._begun))]
        return False

    def hold(self, id: str, links: Sequence[Link]) -> None:
        """Keep jobs of a batch until its `before` callbacks are over.

        Raises StoreError, DispatchError.
        """
        number = self.held.keep(id, [link.with_(waits=0) for link in links])
        if not self.is_before(id):
            self.held.send_one(id, number)

    def _emit(self, event: type[events.BatchEvent], id: str, *facts: Any) -> None:
        """Emit an event about the batch, which is read only if the event has listeners."""
        if Events.heard(event) and (batch := self.find(id)) is not None:
            Events.emit(event, batch, *facts)

    def _emit_once(self, event: type[events.BatchEvent], mark: str, tally: Tally, *facts: Any) -> None:
        """Emit an event once, although the counts may reach the same state again after a repair."""
        if mark not in tally.sent and Events.heard(event) and self.store.mark(tally.id, mark):
            self._emit(event, tally.id, *facts)


def _nothing() -> None:
    """Nothing to undo: what waited for the commit was not created."""


def _chunks(members: Iterator[Member]) -> Iterator[Chunk]:
    size = FIRST_CHUNK
    while chunk := list(islice(members, size)):
        yield chunk
        size = CHUNK


def _ids(chunk: Chunk) -> list[str]:
    return [id for _, ids in chunk for id in ids]


def _callbacks(record: BatchRecord, event: str) -> Sequence[Mapping[str, Any]]:
    callbacks: Sequence[Mapping[str, Any]] = record.options.get("callbacks", {}).get(event, ())
    return callbacks


def _place(record: BatchRecord) -> dict[str, Any]:
    """Queue and connection of what the batch itself sends."""
    return {name: record.options.get(name) for name in ("queue", "connection")}


def _of_batch(link: Link, batch_id: str, place: Mapping[str, Any]) -> Link:
    """A link, and all after it, as members of a batch that is known only now; they may be sent twice."""
    chain = dict(link.payload.chain)
    if "rest" in chain:
        chain["rest"] = [_of_batch(Link.from_dict(behind), batch_id, place).to_dict() for behind in chain["rest"]]
    own = {name: getattr(link.payload, name) or value for name, value in place.items()}
    return link.with_(batch_id=batch_id, chain=chain, once=1, **own)


def _as_link(record: BatchRecord) -> Payload:
    """The batch as the payload of its link in the chain."""
    options = record.options
    carrier = {"root_id": options["root_id"]} if "root_id" in options else {}
    return Payload(record.id, "batch", chain=options.get("chain", {}), carrier=carrier)
