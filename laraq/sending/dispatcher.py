"""The one door out: dispatch, sync, after_response, bulk, and Celery's own verbs pass here."""

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

if TYPE_CHECKING:  # it brings pydantic along
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq")

#: A job that is ready to be sent: what travels, its delay in seconds, and itself.
Ready: TypeAlias = tuple[Payload, float, Any]


#: Jobs of a bulk that are made ready before they are sent, so that a bulk of any length needs little memory.
BULK = 1000


class _Way(NamedTuple):
    """Which way jobs of a bulk go together."""

    connection: str | None
    #: The session whose transaction decides about them.
    within: Any
    #: Whether they are part of that transaction, instead of waiting for its commit.
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
        """`waits`: whether jobs are for after the commit where neither they nor their connections say."""
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
        """Send the job; when this returns, the broker has it, or the open transaction it waits for does.

        `session` names the transaction, whatever the job says; else it is the one open in this thread or asyncio task,
        if the job waits for it or the broker lives in its database.

        Raises InvalidJobError for fields of the wrong type and DispatchError when the broker cannot take it;
        nothing is in any queue then.
        """
        if job.prepare_for_dispatch() is False:
            return Dispatched("", skipped=True, job=job)
        payload = self._packer.payload(job, id or str(uuid.uuid4()), connection)
        if carrier:
            payload = payload.with_(carrier={**payload.carrier, **carrier})
        delay_of(job)  # one that cannot be is refused before anything is claimed
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
        """`dispatch` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.dispatch, job)

    def dispatch_sync(self, job: Any) -> Any:
        """Run the job in this process, middleware, events and `failed()` included; its exceptions reach the caller.

        Raises ReleasedInSyncError when the job releases itself, for nothing would start it again.
        """
        if job.prepare_for_dispatch() is False:
            return None
        payload = self._packer.payload(job, str(uuid.uuid4()), "sync")
        return self._connections.get("sync").push(payload)

    def dispatch_after_response(self, job: Any) -> Dispatched:
        """Hand the job to the `deferred` connection."""
        return self.dispatch(job, connection="deferred")

    def bulk(self, jobs: Iterable[Any]) -> Sequence[Dispatched]:
        """Send many jobs in as few round trips as their brokers allow, grouped by connection, BULK at a time.

        Raises InvalidJobError, or DispatchError with the number of jobs that may be missing; jobs from the next BULK on
        are not sent then, earlier ones are.
        """
        jobs, sent = iter(jobs), list[Dispatched]()
        # A list: what makes the jobs must not end a transaction while they are sent.
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
                self._take_all_back(group)
            raise
        for way, group in groups.items():
            if way.within is None or way.joins:
                self._send_group(way, group)
            else:
                send = partial(self._send_late, way, group)
                self._after_commit.defer(send, self._on_rollback(group, way.within), way.within)
        return sent

    def send_all(self, ready: Iterable[Ready]) -> None:
        """Send what has been claimed already, in as few round trips as the brokers allow.

        Raises DispatchError.
        """
        groups: dict[_Way, list[Ready]] = {}
        for one in ready:
            groups.setdefault(_Way(one[0].connection, None, False), []).append(one)
        for way, group in groups.items():
            self._send_group(way, group)

    def runs_at_once(self, connection: str | None) -> bool:
        """Whether a job is run where it is sent to that connection."""
        return self._connections.get(connection).immediate

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any) -> None:
        """Call `send` when the session's transaction commits, `on_rollback` when it does not."""
        self._after_commit.defer(send, on_rollback, session)

    def send_link(self, link: Link, follow: Callable[[Payload], None] | None = None) -> bool:
        """Send a link whose turn it is; False when it is unique and another one is there already."""
        delay = link.delay
        payload = link.payload.with_(created_at=clock.now(), context=Context.all())
        job = None
        if link.claims and (job := self._instance(payload)) is not None:
            try:
                payload, holder = self.claim(payload, job)
            except InvalidJobError as error:  # its `unique_for` has come to 0: nobody is there to be told
                logger.warning("Link %s[%s] is sent without its unique lock: %s", payload.job, payload.id, error)
                holder = None
            if holder is not None:
                return False
            delay = max(delay, self.wait(job))  # a debounced one
        if follow is not None and self.runs_at_once(payload.connection):
            follow(payload)
        else:
            self.send(payload, job, delay)
        return True

    def _instance(self, payload: Payload) -> Any:
        """The job itself, for its lock; None where its class is not at hand: then the link goes without."""
        try:
            return self._codec.load(registry.find(payload.job), payload)
        except LaraqError as error:
            logger.warning("Link %s[%s] is sent without its unique lock: %s", payload.job, payload.id, error)
            return None

    def resend(self, payload: Payload, delay: float = 0) -> None:
        """Send a payload that exists already: a retry of a failed job."""
        self._connections.get(payload.connection).push(payload, delay)

    def _transaction(self, job: Any, payload: Payload, session: Any = None) -> tuple[Any, Any]:
        """The open session whose transaction decides about the job, if one does; and the connection that makes the job
        part of it, where the broker can and the job does not wait for the commit."""
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

    def held_by(self, said: bool | None, connection: str | None) -> Any:
        """The open session whose commit something of several messages waits for: because it says so, or because each
        of them would be part of that transaction; None when it is sent at once."""
        session = None if said is False else self._after_commit.open_session(None)
        if session is None:
            return None
        return session if self.waits(said, connection) or self._joined(connection, session) is not None else None

    def _joined(self, connection: str | None, session: Any) -> Any:
        """The connection whose pushes are part of the session's transaction; None where the broker cannot."""
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
        """Send what waited for a commit together."""
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
            self._take_all_back(group)
            raise
        if way.joins:
            self._free_on_rollback(group, way.within)
        for payload, delay, job in group:
            Events.emit(events.JobQueued, payload, job, delay)

    def _free_on_rollback(self, group: Sequence[Ready], session: Any) -> None:
        """The messages are part of the session's transaction; what was claimed for them goes with it."""
        if any(payload.unique for payload, _, _ in group):
            self._after_commit.defer(_nothing, self._on_rollback(group, session), session)

    def _on_rollback(self, group: Sequence[Ready], session: Any) -> Callable[[], None]:
        """What frees the claims of jobs that are not sent; those made within the transaction are gone by themselves."""
        within = self._unique.is_within
        return partial(self._take_all_back, [one for one in group if one[0].unique and not within(session, one[2])])

    def _waits(self, job: Any, payload: Payload) -> bool:
        """Whether the job is for after the commit: the job says, else its connection, else the setting.

        (Illuminate/Queue/Queue.php: shouldDispatchAfterCommit())
        """
        return self.waits(job._after_commit, payload.connection)

    def waits(self, said: bool | None, connection: str | None) -> bool:
        """The same for anything that may say so itself and goes through a connection."""
        if said is not None:
            return said
        said = self._connections.configured(connection).get("after_commit")
        return self._waits_else if said is None else bool(said)

    def claim(self, payload: Payload, job: Any, within: Any = None) -> tuple[Payload, str | None]:
        """The payload with its unique lock or debounce token; or the id of the job that is in its place."""
        if not job.unique and not job.unique_until_processing and job.debounce_for is None:
            return payload, None
        claim, holder = self._unique.claim(job, payload.id, within)
        if holder is not None:
            Events.emit(events.UniqueJobSkipped, payload, job, holder)
        return payload.with_(unique=claim), holder

    def wait(self, job: Any, within: Any = None) -> float:
        """Seconds that a job waits which has what it needs: its delay, else the window it is debounced in."""
        if job.countdown is None and job.debounce_for is not None:
            return self._unique.wait(job, within)
        return delay_of(job)

    def _take_back(self, payload: Payload, job: Any) -> None:
        """Free what was claimed for a job that was never sent; what cannot be freed now ends by itself."""
        if payload.unique:
            try:
                self._unique.release(payload.unique, job)
                self._unique.forget_token(payload.unique)
            except StoreError as error:  # why the job was not sent matters more
                logger.warning("The unique lock of %s[%s] could not be released: %s", payload.job, payload.id, error)

    def _take_all_back(self, group: Iterable[Ready]) -> None:
        for payload, _, job in group:
            self._take_back(payload, job)

    def send(self, payload: Payload, job: Any = None, delay: float = 0, joined: Any = None) -> Any:
        """Send what has been claimed already; `job` is None where only its payload is known.

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
            self._take_back(payload, job)
            raise
        Events.emit(events.JobQueued, payload, job, delay)
        return sent


def _nothing() -> None:
    """The message is in the transaction already."""
