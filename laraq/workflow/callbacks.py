"""Callbacks of chains and batches: each is its own queued job.

Laravel calls them in the worker whose job caused the event, where a crash loses them. Here the id of a callback's
job is derived from its purpose, so a second send is of the same job, which starts once.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from laraq.errors import BatchNotFoundError, ConfigurationError, JobFailure, PayloadError
from laraq.jobs.closures import unpack
from laraq.jobs.fields.untyped import AsWritten
from laraq.jobs.job import Job
from laraq.jobs.registered import find
from laraq.messages.failure import storable, text_of, traceback_of
from laraq.messages.keys import Keys
from laraq.messages.link import Link
from laraq.messages.payload import Payload
from laraq.middleware.travelling import rebound
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import WAITING, Packer

if TYPE_CHECKING:  # importing it would import pydantic
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq.callbacks")

#: The values of an error that can be sent.
_PLAIN = (str, int, float, bool, type(None))

#: Most characters of an error's text, and of its traceback, that are sent.
_MESSAGE, _TRACEBACK = 8000, 8000


def derived_id(*parts: object) -> str:
    """A uuid derived from the parts: the same parts always give the same uuid."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "laraq:" + ":".join(map(str, parts))))


class CallQueuedCallback(Job):
    """Calls a function with a batch, an error, or both; its other parameters are injected.

    It starts once: a callback that fails goes to the failed jobs, where `laraq retry` finds it.
    """

    _travels_as = "laraq.callbacks.CallQueuedCallback"

    #: The result of `closures.pack`.
    function: dict[str, str | None]
    #: The result of `describe`.
    error: Annotated[Any, AsWritten] = None

    tries = 1

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The function, with the facts of the event as its first arguments, as many as it takes."""
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
        """Never called: `entry` is called in its place."""


class Callbacks:
    """Sends callbacks for one Laraq."""

    def __init__(self, packer: Packer, dispatcher: Dispatcher, codec: Codec, keys: Keys) -> None:
        self._packer = packer
        self._dispatcher = dispatcher
        self._codec = codec
        self._keys = keys

    def send(
        self,
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
        """Queue a callback (`Packer.callback`) under that id; False if it is unique and the same job is already queued.

        `about` is its display name; `counts` are the batch counts it gets, by default those at its run. Raises
        DispatchError.
        """
        batch_id = None if batch is None else batch.id
        if "call" in packed:
            job = CallQueuedCallback(function=dict(packed["call"]), error=None if error is None else dict(error))
            job.display_name = about
            link = self._packer.link(job, queue=queue, connection=connection)
        else:
            link = Link.from_dict(packed["link"])
            if link.takes_result:
                facts: list[Any] = [] if batch is None else [batch.to_dict()]
                facts += [] if error is None else [error["message"]]
                link = link.with_(args=(*facts, *link.payload.args))
        link = replace(link, payload=self._under(id, link.payload))
        link = link.with_(batch_id=batch_id, event=event, counts=dict(counts or {}), once=1)
        try:
            return self._dispatcher.send_link(link)
        except Exception:
            if batch_id is None or not self._dispatcher.runs_at_once(link.payload.connection):
                raise
            # It ran in this process, as the jobs of a batch do on such a connection, and its batch must go on.
            logger.exception("The callback %s failed", about)
            return True

    def _under(self, id: str, payload: Payload) -> Payload:
        """The payload under another id, with what is encrypted or signed bound to that id.

        What does not verify stays as it is: the worker that gets it reports and keeps it.
        """
        if not payload.id.startswith(WAITING):  # from an earlier version, which bound nothing, or an unknown sender
            return payload.with_(id=id)
        try:
            moved = self._codec.rebound(payload, id)
            return moved.with_(through=rebound(payload.through, self._keys, str(payload), str(moved)))
        except (ConfigurationError, PayloadError):
            return payload.with_(id=id)


def describe(error: BaseException, *, discreet: bool = False) -> dict[str, Any]:
    """An error as JSON. `discreet` leaves out its text: errors of encrypted jobs may quote their fields."""
    kind = type(error)
    described: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "message": ""}
    if discreet:
        return described
    described["message"] = text_of(error)[:_MESSAGE]
    described["traceback"] = traceback_of(error)[-_TRACEBACK:]
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a class may have hidden its own
    if all(type(one) in _PLAIN for one in args):
        args = [storable(one) if isinstance(one, str) else one for one in args]
        if sum(len(one) for one in args if isinstance(one, str)) <= _MESSAGE:
            described["args"] = args
            described["attributes"] = _attributes(error)
    return described


def revive(described: Mapping[str, Any]) -> BaseException:
    """Restore the error if its class is imported, else a JobFailure with its text.

    Only exceptions from modules that are already imported, and without calling the class's own code: a message must
    not run anything else.
    """
    name, message = str(described["type"]), str(described["message"])
    kind = find(name)
    error: BaseException = JobFailure(f"{name}: {message}" if message else name)
    if isinstance(kind, type) and issubclass(kind, Exception) and "args" in described:
        with suppress(Exception):  # not the args of an error
            error = _made(kind, tuple(described["args"]))
            vars(error).update(described.get("attributes") or {})
    if "traceback" in described:
        BaseException.add_note(error, f"In the worker:\n{described['traceback']}")
    return error


def _made(kind: type[Exception], args: tuple[Any, ...]) -> Exception:
    builtin = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    if kind is builtin:
        with suppress(Exception):  # UnicodeError, for example, expects other arguments
            return kind(*args)
    error: Exception = builtin.__new__(kind, *args)
    error.args = args
    return error


def _attributes(error: BaseException) -> dict[str, Any]:
    """The attributes that the constructor set on the error, if they are plain and short."""
    state: dict[str, Any] = object.__getattribute__(error, "__dict__")  # a class may have hidden its own
    plain = {name: value for name, value in state.items() if type(name) is str and type(value) in _PLAIN}
    texts = {name: storable(value) for name, value in plain.items() if isinstance(value, str)}
    return {**plain, **texts} if sum(map(len, texts.values())) <= _MESSAGE else {}
