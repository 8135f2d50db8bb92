"""The Dispatcher: dispatch, sync, after_response, bulk, and Celery's own methods all send through it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laraq import events
from laraq.context import Context
from laraq.errors import DispatchError, InvalidJobError, LaraqError, StoreError
from laraq.events import Events
from laraq.jobs import registry
from laraq.jobs.dispatched import Dispatched
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq.process import clock
from laraq.sending.after_commit import AfterCommit
from laraq.sending.connections import Connections
from laraq.sending.packing import Packer, delay_of
from laraq.sending.unique import UniqueLocks

if TYPE_CHECKING:  # importing it would import pydantic
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq")

#: A job that is ready to be sent: its payload, its delay in seconds, and the job.
Ready: TypeAlias = tuple[Payload, float, Any]


#: Jobs of a bulk that are prepared before they are sent, so that a bulk of any length needs little memory.
BULK = 1000


class _Way(NamedTuple):
    """The way that jobs of a bulk share."""

    connection: str | None
    #: The session whose transaction decides about the jobs.
    within: Any
    #: Whether the jobs are part of that transaction, instead of waiting for its commit.
    joins: bool


class Dispatcher:
    """Sends jobs for one Laraq."""

    def __init__(
        self,
        packer: Packer,
        codec: Codec,
        unique: UniqueLocks,
        connections: Connections,
        after_commit: AfterCommit,
        waits: bool,
    ) -> None:
        """`waits`: whether jobs wait for the commit when neither they nor their connections set it."""
        self._packer = packer
        self._codec = codec
        self._unique = unique
        self._connections = connections
        self._after_commit = after_commit
        self._waits_else = waits

    def dispatch(
        self,
        job: Any,
        *,
        id: object = None,
        connection: str | None = None,
        carrier: Mapping[str, Any] | None = None,
        session: Any = None,
    ) -> Dispatched:
        """Send the job; when this returns, the broker has it, or it waits for the open transaction.

        `session` selects the transaction, whatever the job sets; else it is the one open in this thread or asyncio
        task, if the job waits for it or the broker lives in its database.

        Raises InvalidJobError for fields of the wrong type and DispatchError when the broker cannot accept the job;
        it is then in no queue.
        """
        if job.prepare_for_dispatch() is False:
            return Dispatched("", skipped=True, job=job)
        payload = self._packer.payload(job, id or str(uuid.uuid4()), connection)
        if carrier:
            payload = payload.with_(carrier={**payload.carrier, **carrier})
        delay_of(job)  # an invalid delay is refused before anything is claimed
        within, joined = self._transaction(job, payload, session)
        claimed, holder = self.claim(payload, job, within)
        if holder is not None:
            return Dispatched(holder, skipped=True, job=job)
        delay = self.wait(job, within)
        if within is not None and joined is None:
            self._defer(claimed, job, delay, within)
            return Dispatched(claimed.id, job=job)
        sent = self.send(claimed, job, delay, joined)
        if joined is not None:
            self._free_on_rollback([(claimed, delay, job)], within)
        return Dispatched(claimed.id, sent=sent, job=job)

    async def adispatch(self, job: Any) -> Dispatched:
        """`dispatch` in a thread, so that the event loop is not blocked."""
        return await asyncio.to_thread(self.dispatch, job)

    def dispatch_sync(self, job: Any) -> Any:
        """Run the job in this process, middleware, events and `failed()` included; its exceptions reach the caller.

        Raises ReleasedInSyncError when the job releases itself, because nothing would start it again.
        """
        if job.prepare_for_dispatch() is False:
            return None
        payload = self._packer.payload(job, str(uuid.uuid4()), "sync")
        return self._connections.get("sync").push(payload)

    def dispatch_after_response(self, job: Any) -> Dispatched:
        """Send the job to the `deferred` connection."""
        return self.dispatch(job, connection="deferred")

    def bulk(self, jobs: Iterable[Any]) -> Sequence[Dispatched]:
        """Send many jobs in as few round trips as their brokers allow, grouped by connection, BULK at a time.

        Raises InvalidJobError, or DispatchError with the number of jobs that may be missing; the jobs before the
        failing BULK are then sent, those after it are not.
        """
        jobs, sent = iter(jobs), list[Dispatched]()
        # A list: the iterable must not end a transaction while the jobs are sent.
        while some := list(islice(jobs, BULK)):
            sent.extend(self._bulk(some))
        return sent

    def _bulk(self, jobs: Sequence[Any]) -> Sequence[Dispatched]:
        sent: list[Dispatched] = []
        groups: dict[_Way, list[Ready]] = {}
        try:
            for job in jobs:
                if job.prepare_for_dispatch() is False:
                    sent.append(Dispatched("", skipped=True))
                    continue
                payload = self._packer.payload(job, str(uuid.uuid4()))
                delay_of(job)
                within, joined = self._transaction(job, payload)
                claimed, holder = self.claim(payload, job, within)
                if holder is None:
                    way = _Way(payload.connection, within, joined is not None)
                    groups.setdefault(way, []).append((claimed, self.wait(job, within), job))
                sent.append(Dispatched(claimed.id) if holder is None else Dispatched(holder, skipped=True))
        except Exception:
            for group in groups.values():
                self._release_all(group)
            raise
        for way, group in groups.items():
            if way.within is None or way.joins:
                self._send_group(way, group)
            else:
                send = partial(self._send_late, way, group)
                self._after_commit.defer(send, self._on_rollback(group, way.within), way.within)
        return sent

    def send_all(self, ready: Iterable[Ready]) -> None:
        """Send jobs that are claimed already, in as few round trips as the brokers allow.

        Raises DispatchError.
        """
        groups: dict[_Way, list[Ready]] = {}
        for one in ready:
            groups.setdefault(_Way(one[0].connection, None, False), []).append(one)
        for way, group in groups.items():
            self._send_group(way, group)

    def runs_at_once(self, connection: str | None) -> bool:
        """Whether a job that is sent to that connection runs at once, in this process."""
        return self._connections.get(connection).immediate

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any) -> None:
        """Call `send` when the session's transaction commits, `on_rollback` when it rolls back."""
        self._after_commit.defer(send, on_rollback, session)

    def send_link(self, link: Link, follow: Callable[[Payload], None] | None = None) -> bool:
        """Send the next link; False when it is unique and the same job is already queued."""
        delay = link.delay
        payload = link.payload.with_(created_at=clock.now(), context=Context.all())
        job = None
        if link.claims and (job := self._instance(payload)) is not None:
            try:
                payload, holder = self.claim(payload, job)
            except InvalidJobError as error:  # its `unique_for` has become 0, and there is no caller to raise to
                logger.warning("Link %s[%s] is sent without its unique lock: %s", payload.job, payload.id, error)
                holder = None
            if holder is not None:
                return False
            delay = max(delay, self.wait(job))  # of a debounced job
        if follow is not None and self.runs_at_once(payload.connection):
            follow(payload)
        else:
            self.send(payload, job, delay)
        return True

    def _instance(self, payload: Payload) -> Any:
        """The job itself, for its lock; None if its class is not available: the link is then sent without the lock."""
        try:
            return self._codec.load(registry.find(payload.job), payload)
        except LaraqError as error:
            logger.warning("Link %s[%s] is sent without its unique lock: %s", payload.job, payload.id, error)
            return None

    def resend(self, payload: Payload, delay: float = 0) -> None:
        """Send an existing payload: a retry of a failed job."""
        self._connections.get(payload.connection).push(payload, delay)

    def _transaction(self, job: Any, payload: Payload, session: Any = None) -> tuple[Any, Any]:
        """The open session whose transaction decides about the job, if any; and the connection that makes the job part
        of the transaction, if the broker can and the job does not wait for the commit."""
        if session is None and job._after_commit is False:
            return None, None
        after_commit = self._after_commit
        waits = self._waits(job, payload)
        within = after_commit.open_session(session)
        if within is None:
            if waits:
                after_commit.warn_if_blind(payload.job)
            return None, None
        joined = None if waits else self._joined(payload.connection, within)
        return (within, joined) if waits or joined is not None or session is not None else (None, None)

    def held_by(self, explicit: bool | None, connection: str | None) -> Any:
        """The open session whose commit a chain or batch waits for: because it is set to, or because each of its
        messages would be part of that transaction; None when it is sent at once."""
        session = None if explicit is False else self._after_commit.open_session(None)
        if session is None:
            return None
        return session if self.waits(explicit, connection) or self._joined(connection, session) is not None else None

    def _joined(self, connection: str | None, session: Any) -> Any:
        """The connection whose pushes are part of the session's transaction; None if the broker cannot do that."""
        join = getattr(self._connections.get(connection), "joined", None)
        return None if join is None else join(session)

    def _defer(self, payload: Payload, job: Any, delay: float, session: Any) -> None:
        """Hold the job until the session's transaction commits."""

        def send() -> None:
            try:
                self.send(payload, job, delay)
            except DispatchError as error:
                message = f"{error} The transaction it waited for is committed; the job's id is {payload.id}."
                raise DispatchError(message) from error

        self._after_commit.defer(send, self._on_rollback([(payload, delay, job)], session), session)

    def _send_late(self, way: _Way, group: Sequence[Ready]) -> None:
        """Send jobs that waited for a commit together."""
        try:
            self._send_group(way, group)
        except DispatchError as error:
            ids = ", ".join(payload.id for payload, _, _ in group[:10]) + (", ..." if len(group) > 10 else "")
            message = f"{error} The transaction that {len(group)} jobs waited for is committed; their ids are {ids}."
            raise DispatchError(message) from error

    def _send_group(self, way: _Way, group: Sequence[Ready]) -> None:
        connection = self._joined(way.connection, way.within) if way.joins else self._connections.get(way.connection)
        for payload, delay, job in group:
            Events.emit(events.JobQueueing, payload, job, delay)
        try:
            connection.bulk([(payload, delay) for payload, delay, _ in group])
        except Exception:
            self._release_all(group)
            raise
        if way.joins:
            self._free_on_rollback(group, way.within)
        for payload, delay, job in group:
            Events.emit(events.JobQueued, payload, job, delay)

    def _free_on_rollback(self, group: Sequence[Ready], session: Any) -> None:
        """Free the claims of messages that are part of the session's transaction if it rolls back."""
        if any(payload.unique for payload, _, _ in group):
            self._after_commit.defer(_nothing, self._on_rollback(group, session), session)

    def _on_rollback(self, group: Sequence[Ready], session: Any) -> Callable[[], None]:
        """A function that frees the claims of jobs that are not sent; claims in the transaction roll back with it."""
        within = self._unique.is_within
        return partial(self._release_all, [one for one in group if one[0].unique and not within(session, one[2])])

    def _waits(self, job: Any, payload: Payload) -> bool:
        """Whether the job waits for the commit: as set on the job, else on its connection, else in the settings.

        (Illuminate/Queue/Queue.php: shouldDispatchAfterCommit())
        """
        return self.waits(job._after_commit, payload.connection)

    def waits(self, explicit: bool | None, connection: str | None) -> bool:
        """Whether something sent through a connection waits for the commit; `explicit` is its own setting."""
        if explicit is not None:
            return explicit
        explicit = self._connections.configured(connection).get("after_commit")
        return self._waits_else if explicit is None else bool(explicit)

    def claim(self, payload: Payload, job: Any, within: Any = None) -> tuple[Payload, str | None]:
        """The payload with its unique lock or debounce token; or the id of the job that holds the lock."""
        if not job.unique and not job.unique_until_processing and job.debounce_for is None:
            return payload, None
        claim, holder = self._unique.claim(job, payload.id, within)
        if holder is not None:
            Events.emit(events.UniqueJobSkipped, payload, job, holder)
        return payload.with_(unique=claim), holder

    def wait(self, job: Any, within: Any = None) -> float:
        """Seconds that a claimed job waits: its delay, else the window of its debouncing."""
        if job.countdown is None and job.debounce_for is not None:
            return self._unique.wait(job, within)
        return delay_of(job)

    def _release(self, payload: Payload, job: Any) -> None:
        """Free the claim of a job that was never sent; a claim that cannot be freed now expires by itself."""
        if payload.unique:
            try:
                self._unique.release(payload.unique, job)
                self._unique.forget_token(payload.unique)
            except StoreError as error:  # the reason why the job was not sent matters more
                logger.warning("The unique lock of %s[%s] could not be released: %s", payload.job, payload.id, error)

    def _release_all(self, group: Iterable[Ready]) -> None:
        for payload, _, job in group:
            self._release(payload, job)

    def send(self, payload: Payload, job: Any = None, delay: float = 0, joined: Any = None) -> Any:
        """Send a job that is claimed already; `job` is None if only its payload is known.

        Raises DispatchError.
        """
        connection = self._connections.get(payload.connection) if joined is None else joined
        if connection.immediate:
            connection.push(payload, delay)  # the run frees what was claimed
            return None
        Events.emit(events.JobQueueing, payload, job, delay)
        try:
            sent = connection.push(payload, delay)
        except Exception:
            self._release(payload, job)
            raise
        Events.emit(events.JobQueued, payload, job, delay)
        return sent


def _nothing() -> None:
    """Nothing to send: the message is part of the transaction already."""
