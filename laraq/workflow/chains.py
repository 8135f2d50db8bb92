"""Chains: jobs that each start when the previous one has succeeded.

(Illuminate/Bus/Queueable.php: chain(), dispatchNextJobInChain(); Illuminate/Foundation/Bus/PendingChain.php.)

The rest of a chain is sent in the message of its current link, each link with the uuid it will run under. So if the
next link is sent twice after a crash, it is the same job, and its first start is claimed in the run journal.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

from laraq.current import current
from laraq.errors import JobDefinitionError
from laraq.jobs.closures import as_job
from laraq.jobs.conditionable import Condition, Conditionable, holds
from laraq.jobs.dispatched import Dispatched
from laraq.jobs.interactions import flat
from laraq.jobs.job import Job
from laraq.messages.link import Link
from laraq.messages.options import Delay, Text, checked
from laraq.messages.payload import Payload
from laraq.messages.tally import LOAD_SECONDS
from laraq.ports import Batches
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import Packer, Rest, placed, wanted
from laraq.workflow.callbacks import Callbacks, derived_id, describe


class PendingChain(Conditionable):
    """A chain that is being configured: `Bus.chain([...])`, or the result of `SomeJob.with_chain([...])`."""

    def __init__(self, jobs: Any, head: Callable[..., Any] | None = None) -> None:
        self._rest = Rest(flat(jobs if isinstance(jobs, Iterable) and not callable(jobs) else [jobs]))
        #: Creates the first job from the arguments of `dispatch`.
        self._head = head
        self._all = False
        self._delay: Delay | None = None
        self._after_commit: bool | None = None

    def on_queue(self, queue: Text) -> Self:
        """Set the queue of every link that names none."""
        self._rest.queue = checked("queue", queue)
        return self

    def on_connection(self, connection: Text) -> Self:
        """Set the connection of every link that names none."""
        self._rest.connection = checked("connection", connection)
        return self

    def all_on_queue(self, queue: Text) -> Self:
        """Set the queue of every link that names none, and of the first job in any case."""
        self._all = True
        return self.on_queue(queue)

    def all_on_connection(self, connection: Text) -> Self:
        """Set the connection of every link that names none, and of the first job in any case."""
        self._all = True
        return self.on_connection(connection)

    def with_delay(self, delay: Delay) -> Self:
        """Start the first job no earlier than this, unless it has its own delay."""
        self._delay = checked("countdown", delay)
        return self

    delay = with_delay

    def after_commit(self) -> Self:
        """Send the first job when the open transaction commits."""
        self._after_commit = True
        return self

    def catch(self, callback: Any) -> Self:
        """Call `callback(error)` in a queued job when a link has failed for good; may be called several times."""
        self._rest.catchers.append(callback)
        return self

    def prepend(self, jobs: Any) -> Self:
        """Add one job, or several in their order, at the beginning."""
        self._rest.jobs[:0] = flat([jobs])
        return self

    def append(self, jobs: Any) -> Self:
        """Add one job, or several, at the end."""
        self._rest.jobs += flat([jobs])
        return self

    def dispatch(self, *args: Any, **fields: Any) -> Dispatched:
        """Send the first job, which carries the others. The arguments are the fields of the job of `with_chain`.

        Raises InvalidJobError for any job of the chain, and DispatchError; nothing is in any queue then.
        """
        return current().chains.dispatch(self.jobs(*args, **fields), self)

    async def adispatch(self, *args: Any, **fields: Any) -> Dispatched:
        """`dispatch` without blocking the event loop."""
        return await asyncio.to_thread(self.dispatch, *args, **fields)

    def dispatch_if(self, condition: Condition, *args: Any, **fields: Any) -> Dispatched | None:
        """`dispatch` if the condition holds; a callable is called, with the chain if it takes a parameter."""
        return self.dispatch(*args, **fields) if holds(condition, lambda: self) else None

    def dispatch_unless(self, condition: Condition, *args: Any, **fields: Any) -> Dispatched | None:
        """`dispatch` unless the condition holds."""
        return None if holds(condition, lambda: self) else self.dispatch(*args, **fields)

    def jobs(self, *args: Any, **fields: Any) -> list[Any]:
        """All jobs, in order.

        Raises JobDefinitionError for an empty chain.
        """
        jobs = [*([] if self._head is None else [self._head(*args, **fields)]), *self._rest.jobs]
        if not jobs:
            raise JobDefinitionError("Bus.chain([]) has no job: give it at least one.")
        return jobs

    def head(self, job: Any) -> Job:
        """A copy of the first job, as it is sent."""
        head = placed(job, self._rest.queue, self._rest.connection, force=self._all)
        if self._delay is not None and head.countdown is None:
            head.countdown = self._delay
        if self._after_commit is not None:
            head._after_commit = self._after_commit
        return head

    def rest(self, jobs: Sequence[Any]) -> Rest:
        """What follows the first of the jobs."""
        return replace(self._rest, jobs=list(jobs[1:]))


class Chains:
    """Sends chains, and the next link when a link is done."""

    def __init__(
        self, packer: Packer, dispatcher: Dispatcher, callbacks: Callbacks, batches: Callable[[], Batches]
    ) -> None:
        """`batches` counts the links that jobs of batches add to their chains."""
        self._packer = packer
        self._dispatcher = dispatcher
        self._callbacks = callbacks
        self._batches = batches

    @staticmethod
    def pending(head: Callable[..., Any]) -> Callable[[Iterable[Any]], PendingChain]:
        """The implementation of `SomeJob.with_chain`."""
        return lambda jobs: PendingChain(jobs, head)

    @classmethod
    def pending_of(cls, job: Any) -> Callable[[Iterable[Any]], Any]:
        """The implementation of `job.with_chain`."""

        def with_chain(jobs: Iterable[Any]) -> Any:
            cls.rest_of(job).jobs = flat(jobs)
            return job

        return with_chain

    @staticmethod
    def rest_of(job: Any) -> Rest:
        """The job's `Rest`, to which links can be added."""
        if job._rest is None:
            job._rest = Rest()
        rest: Rest = job._rest
        return rest

    def dispatch(self, jobs: Sequence[Any], chain: PendingChain) -> Dispatched:
        """Send the first job with the others after it."""
        rest = chain.rest(jobs)
        foreign = self._packer.foreign(jobs[0])
        if foreign is None:
            head = chain.head(as_job(jobs[0]))
            head._rest = rest
            return self._dispatcher.dispatch(head)
        link = self._packer.sent_to(foreign, rest.queue, rest.connection).with_(chain=self._packer.tail(rest))
        self._dispatcher.send_link(link)
        return Dispatched(link.id)

    def head(self, chain: PendingChain, *, queue: str | None, connection: str | None, batch_id: str) -> Link:
        """The first link of a chain in a batch, with the others after it; the chain's own queue and connection win."""
        jobs = chain.jobs()
        first = jobs[0] if self._packer.foreign(jobs[0]) else chain.head(as_job(jobs[0]))
        rest = chain.rest(jobs)
        rest.queue, rest.connection = rest.queue or queue, rest.connection or connection
        link = self._packer.link(first, queue=rest.queue, connection=rest.connection, batch_id=batch_id)
        return link.with_(chain=self._packer.tail(rest, batch_id))

    def extended(self, payload: Payload, prepended: Sequence[Any], appended: Sequence[Any]) -> Payload:
        """The payload with the links that a run has added; a repeated run adds them under the same ids."""
        chain = payload.chain
        place: dict[str, Any] = {name: chain.get(name) for name in ("queue", "connection")}
        place["batch_id"] = payload.batch_id

        def links(jobs: Sequence[Any], where: str) -> list[dict[str, Any]]:
            made = [
                self._packer.link(job, **place, id=derived_id(payload.run_key, where, n))
                for n, job in enumerate(wanted(jobs))
            ]
            return [replace(link, joins=payload.batch_id is not None).to_dict() for link in made]

        rest = [*links(prepended, "prepended"), *chain.get("rest", ()), *links(appended, "appended")]
        return payload.with_(chain={**chain, "rest": rest})

    def proceed(self, payload: Payload, follow: Callable[[Payload], None] | None = None) -> None:
        """Send the link after a job that succeeded; a unique link whose lock is held is skipped.

        `follow` gets a link of a connection that runs jobs at once. Raises DispatchError, StoreError.
        """
        rest = list(payload.chain.get("rest", ()))
        while rest:
            link = Link.from_dict(rest.pop(0))
            root = payload.carrier.get("root_id") or payload.id
            link = link.with_(
                chain={**payload.chain, "rest": rest} if rest or "catch" in payload.chain else {},
                carrier={**link.payload.carrier, "root_id": root, "parent_id": payload.id},
                once=1,
            )
            if link.joins and link.payload.batch_id is not None:
                self._join(link.payload.batch_id, link.id)
            if self._dispatcher.send_link(link, follow):
                return

    def _join(self, batch_id: str, id: str) -> None:
        """Make a link that a job of a batch added to its chain a job of the batch; it is sent by the job's message."""
        load = uuid.uuid4().hex
        if self._batches().add(batch_id, load, [id], LOAD_SECONDS) is not None:
            self._batches().end_load(batch_id, load)

    def stop(self, payload: Payload, error: BaseException, *, discreet: bool = False) -> None:
        """Queue the `catch` callbacks of a chain whose link failed."""
        for number, packed in enumerate(payload.chain.get("catch", ())):
            self._callbacks.send(
                packed,
                derived_id(payload.run_key, "catch", number),
                about=f"catch of {payload.job}",
                error=describe(error, discreet=discreet),
                queue=payload.chain.get("queue"),
                connection=payload.chain.get("connection"),
            )
