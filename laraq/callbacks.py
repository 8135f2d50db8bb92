"""Callbacks of chains and batches: each is a queued job of its own.

Laravel calls them in the worker whose job made the event happen, where a crash loses them. Here the id of a callback's
job is made from what it is for, so whoever sends it a second time sends the same job, which starts once.
"""

from __future__ import annotations

import inspect
import logging
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from laraq.closures import pack, unpack
from laraq.current import current
from laraq.errors import BatchNotFoundError, JobDefinitionError, JobFailure
from laraq.failure import storable, text_of, traceback_of
from laraq.function import JobFunction
from laraq.job import Job
from laraq.link import Link
from laraq.untyped import AsWritten

logger = logging.getLogger("laraq.callbacks")

#: Most characters that travel of what an error says, and of its traceback.
_MESSAGE, _TRACEBACK = 8000, 8000


def derived_id(*parts: object) -> str:
    """The same uuid for the same parts, everywhere and always."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "laraq:" + ":".join(map(str, parts))))


class CallQueuedCallback(Job):
    """Calls a function about a batch, an error, or both; the rest of its parameters is injected.

    It starts once: a callback that fails goes to the failed jobs, where `laraq retry` finds it.
    """

    #: As `closures.pack` wrote it.
    function: dict[str, str | None]
    #: As `describe` wrote it.
    error: Annotated[Any, AsWritten] = None

    tries = 1

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The function, with what happened as its first parameters, as many as it takes."""
        function = unpack(self.function)
        facts: list[Any] = []
        payload = self._in_queue("callback").delivery.payload
        if payload.batch_id is not None:
            if (batch := self.batch()) is None:
                raise BatchNotFoundError(payload.batch_id)
            facts.append(batch)
        if self.error is not None:
            facts.append(revive(self.error))
        names = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        return function, dict(zip(names, facts, strict=False))

    def handle(self) -> None:
        """Never called: `entry` says what is."""


def pack_callback(callback: Any) -> dict[str, Any]:
    """A callback as it travels or is kept: a job or a task of the host as a link, a function as a closure.

    Raises JobDefinitionError for what is neither, InvalidJobError, ConfigurationError.
    """
    laraq = current()
    if _is_job(callback) or laraq.host.foreign(callback, "") is not None:
        return {"link": laraq.chains.link(callback).to_dict()}
    if not callable(callback):
        raise JobDefinitionError(f"{callback!r} is no callback: give a function, a Job, or a Celery signature.")
    return {"call": pack(callback)}


def _is_job(callback: Any) -> bool:
    return (
        isinstance(callback, (Job, JobFunction))
        or (isinstance(callback, type) and issubclass(callback, Job))
        or hasattr(callback, "as_job")
    )


def send_callback(
    packed: Mapping[str, Any],
    id: str,
    *,
    about: str,
    batch: Any = None,
    event: str | None = None,
    error: Mapping[str, Any] | None = None,
    counts: Mapping[str, int] | None = None,
    queue: str | None = None,
    connection: str | None = None,
) -> bool:
    """Queue a callback under that id; False when it is unique and the same one is there already.

    `about` is the name it shows, `counts` what it sees of the batch, if not what is counted when it runs. Raises
    DispatchError.
    """
    laraq = current()
    batch_id = None if batch is None else batch.id
    if "call" in packed:
        job = CallQueuedCallback(function=dict(packed["call"]), error=None if error is None else dict(error))
        job.display_name = about
        link = laraq.chains.link(job, queue=queue, connection=connection)
    else:
        link = Link.from_dict(packed["link"])
        if link.takes_result:
            facts: list[Any] = [] if batch is None else [batch.to_dict()]
            facts += [] if error is None else [error["message"]]
            link = link.with_(args=(*facts, *link.payload.args))
    try:
        return laraq.chains.send(link.with_(id=id, batch_id=batch_id, event=event, counts=dict(counts or {}), once=1))
    except Exception:
        if batch_id is None or not laraq.connection(link.payload.connection).immediate:
            raise
        # It was called here, as the jobs of a batch are on such a connection, and its batch has to go on.
        logger.exception("The callback %s failed", about)
        return True


def describe(error: BaseException, *, discreet: bool = False) -> dict[str, Any]:
    """An error as JSON. `discreet` leaves out what it says: the errors of encrypted jobs may quote their fields."""
    kind = type(error)
    described: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "message": ""}
    if discreet:
        return described
    described["message"] = text_of(error)[:_MESSAGE]
    described["traceback"] = traceback_of(error)[-_TRACEBACK:]
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a class may have hidden its own
    if all(type(one) in (str, int, float, bool, type(None)) for one in args):
        args = [storable(one) if isinstance(one, str) else one for one in args]
        if sum(len(one) for one in args if isinstance(one, str)) <= _MESSAGE:
            described["args"] = args
    return described


def revive(described: Mapping[str, Any]) -> BaseException:
    """The error again where its class is at hand and takes its arguments, else a JobFailure with its text.

    Only classes of modules that are imported already, and only exceptions: a message must not call anything else.
    """
    name, message = str(described["type"]), str(described["message"])
    module, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(module), attribute, None)
    error: BaseException = JobFailure(f"{name}: {message}" if message else name)
    if isinstance(kind, type) and issubclass(kind, Exception) and "args" in described:
        try:
            error = kind(*described["args"])
        except Exception:  # a constructor of its own, with other parameters
            error = kind.__new__(kind)
            error.args = tuple(described["args"])
    if "traceback" in described:
        error.add_note(f"In the worker:\n{described['traceback']}")
    return error
