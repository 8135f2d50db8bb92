"""Packer: converts jobs, chains and callbacks to payloads and links.

A payload is a job in its own message. A link is a job that is sent later by another process: the next of a chain, a
member of a batch, a callback.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from laraq.context import Context
from laraq.errors import InvalidJobError, JobDefinitionError, OptionError
from laraq.jobs import registry
from laraq.jobs.closures import as_job, pack
from laraq.jobs.function import JobFunction
from laraq.jobs.job import Job
from laraq.jobs.pipeline import middleware_of
from laraq.messages.keys import Keys
from laraq.messages.link import Link
from laraq.messages.options import delay_seconds, epoch, read, refusal, settle, travelling
from laraq.messages.payload import DEEPEST, LONGEST_ID, Payload, is_job_id, too_deep
from laraq.middleware.travelling import pack as pack_middleware
from laraq.ports import Host
from laraq.process import clock
from laraq.sending.routes import Routes
from laraq.sending.unique import held_for

if TYPE_CHECKING:  # importing it would import pydantic
    from laraq.jobs.fields.codec import Codec

#: Prefix of the ids under which callbacks wait. What is encrypted or signed for such an id is for a callback only: else
#: an attacker could have the token of another message bound to the id of a callback.
WAITING = "callback:"


@dataclass(slots=True)
class Rest:
    """What follows a job, as its sender sets it."""

    jobs: list[Any] = field(default_factory=list)
    #: For links that name none themselves.
    queue: str | None = None
    connection: str | None = None
    catchers: list[Any] = field(default_factory=list)


class Packer:
    """Creates payloads and links for one Laraq."""

    def __init__(self, codec: Codec, routes: Routes, keys: Keys, host: Host) -> None:
        self._codec = codec
        self._routes = routes
        self._keys = keys
        self._host = host

    def payload(self, job: Any, id: object, connection: str | None = None) -> Payload:
        """The payload of a job.

        Raises InvalidJobError.
        """
        now, id = clock.now(), str(id)
        cls = type(job)
        if not is_job_id(id):
            raise InvalidJobError(
                cls.job_name(),
                f"{cls.job_name()}: the id {id!r:.80} is invalid: expected 1 to {LONGEST_ID} characters without NUL.",
            )
        if not registry.knows(cls.job_name()):
            raise InvalidJobError(cls.job_name(), f"{cls.job_name()} has no handle(): there is nothing to run.")
        settle(job)
        route_queue, route_connection = self._routes.find(cls)
        _check_middleware(job)
        if job.unique or job.unique_until_processing:
            held_for(job)
        until = read(job, "retry_until")
        queue = self._routes.forwarded(_queue_of(job) or route_queue)
        return Payload(
            id=id,
            job=cls.job_name(),
            fields=self._codec.dump(job, id),
            args=job.positional(),
            queue=queue,
            connection=connection or read(job, "connection") or route_connection,
            options=travelling(job),
            retry_until=None if until is None else epoch(until, now),
            created_at=now,
            context=_context(cls),
            tags=tuple(read(job, "tags") or ()),
            through=pack_middleware(job._through, job, self._keys, f"{cls.job_name()}[{id}]"),
            carrier=_carrier(job),
            chain=self.tail(job._rest) if job._rest is not None else {},
        )

    def tail(self, rest: Rest, batch_id: str | None = None) -> dict[str, Any]:
        """What follows a job, as it is sent with it."""
        place: dict[str, Any] = {"queue": rest.queue, "connection": rest.connection}
        links = [self.link(job, **place, batch_id=batch_id).to_dict() for job in wanted(rest.jobs)]
        catch = [self.callback(catcher) for catcher in rest.catchers]
        return {name: value for name, value in {"rest": links, "catch": catch, **place}.items() if value}

    def link(
        self,
        thing: Any,
        *,
        queue: str | None = None,
        connection: str | None = None,
        batch_id: str | None = None,
        id: str | None = None,
        later: bool = True,
    ) -> Link:
        """A job, function, batch, or task of the host as a link that is sent now or `later`.

        Raises InvalidJobError, JobDefinitionError.
        """
        id = id or str(uuid.uuid4())
        link = self.foreign(thing, id)
        if link is not None:
            claims = link.claims and batch_id is None
            return replace(self.sent_to(link, queue, connection).with_(batch_id=batch_id), claims=claims)
        job = placed(as_job(thing), queue, connection)
        payload = self.payload(job, id)
        changes: dict[str, Any] = {"batch_id": batch_id, "created_at": None, "context": {}}
        if later and "retry_until" not in vars(job):  # the class's rule counts from the link's own first start
            changes["retry_until"] = None
        if batch_id is not None and job._rest is not None:  # the links after a member are members, too
            changes["chain"] = self.tail(job._rest, batch_id)
        claims = bool(job.unique or job.unique_until_processing or job.debounce_for is not None)
        return Link(payload.with_(**changes), delay_of(job), claims and batch_id is None)

    def callback(self, callback: Any) -> dict[str, Any]:
        """A callback as it is sent or kept: a job or a task of the host as a link, a function as a closure.

        Raises JobDefinitionError for any other object, InvalidJobError, ConfigurationError.
        """
        if _is_job(callback) or self.foreign(callback, "") is not None:
            return {"link": self.link(callback, id=f"{WAITING}{uuid.uuid4()}").to_dict()}
        if not callable(callback):
            raise JobDefinitionError(
                f"Expected a function, a Job or a Celery signature as a callback, got {callback!r}."
            )
        return {"call": pack(callback)}

    def foreign(self, thing: Any, id: str | None = None) -> Link | None:
        """A task of the host as a link."""
        return self._host.foreign(thing, id or str(uuid.uuid4()))

    def sent_to(self, link: Link, queue: str | None, connection: str | None) -> Link:
        """The link with this queue and connection, unless it names its own."""
        payload = link.payload
        if payload.queue is None and queue is not None:
            payload = payload.with_(queue=self._routes.forwarded(queue))
        if payload.connection is None and connection is not None:
            payload = payload.with_(connection=connection)
        return replace(link, payload=payload)


def wanted(things: Iterable[Any]) -> Iterator[Any]:
    """Yield the jobs without those that silently cancel their own dispatch (`prepare_for_dispatch`)."""
    for thing in things:
        job = thing() if isinstance(thing, type) and issubclass(thing, Job) else thing
        if not isinstance(job, Job) or job.prepare_for_dispatch() is not False:
            yield job


def placed(job: Any, queue: str | None, connection: str | None, *, force: bool = False) -> Job:
    """A copy of the job with this queue and connection, unless it names its own; `force` replaces those."""
    job = copy.copy(job)
    if queue is not None and (force or job.queue is None):
        job.queue = queue
    if connection is not None and (force or job.connection is None):
        job.connection = connection
    return job  # type: ignore[no-any-return] # copy.copy of a Job


def _is_job(callback: Any) -> bool:
    return (
        isinstance(callback, (Job, JobFunction))
        or (isinstance(callback, type) and issubclass(callback, Job))
        or hasattr(callback, "as_job")
    )


def _queue_of(job: Any) -> Any:
    """The queue that the job names. That of a running job is where it came from, which it need not have named."""
    queue, run = read(job, "queue"), job._interactions
    return run.delivery.payload.queue if run is not None and queue == run.delivery.queue else queue


def _context(cls: Any) -> Mapping[str, Any]:
    context = Context.all()
    if context and too_deep(context):
        why = f"the context holds lists or mappings nested more than {DEEPEST} levels deep"
        raise InvalidJobError(cls.job_name(), f"{cls.job_name()}: {why}.")
    return context


def _check_middleware(job: Any) -> None:
    """Refuse middleware that names something unknown, such as a rate limiter, before the job is sent."""
    for one in middleware_of(job):
        if (check := getattr(one, "check", None)) is not None:
            check()


def delay_of(job: Any) -> float:
    """The delay of the job in seconds.

    Raises InvalidJobError.
    """
    countdown = read(job, "countdown")
    if not countdown:
        return 0.0
    try:
        return delay_seconds(countdown, clock.moment())
    except OptionError as error:
        raise refusal(job, error) from None


def _carrier(job: Any) -> dict[str, Any]:
    """The carrier's own options; `shadow` is the name that Celery's logs, events and tools show."""
    own = {"priority": "priority", "expires": "expires", "ignore_result": "ignore_result", "shadow": "display_name"}
    return {theirs: value for theirs, ours in own.items() if (value := read(job, ours)) is not None}
