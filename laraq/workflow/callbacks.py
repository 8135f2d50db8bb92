"""Callbacks of chains and batches: each is a queued job of its own.

Laravel calls them in the worker whose job made the event happen, where a crash loses them. Here the id of a callback's
job is made from what it is for, so whoever sends it a second time sends the same job, which starts once.
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

if TYPE_CHECKING:  # it brings pydantic along
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq.callbacks")

#: What of an error can travel.
_PLAIN = (str, int, float, bool, type(None))

#: Most characters that travel of what an error says, and of its traceback.
_MESSAGE, _TRACEBACK = 8000, 8000


def derived_id(*parts: object) -> str:
    """The same uuid for the same parts, everywhere and always."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "laraq:" + ":".join(map(str, parts))))


class CallQueuedCallback(Job):
    """Calls a function about a batch, an error, or both; the rest of its parameters is injected.

    It starts once: a callback that fails goes to the failed jobs, where `laraq retry` finds it.
    """

    _travels_as = "laraq.callbacks.CallQueuedCallback"

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
        """Queue a callback (`Packer.callback`) under that id; False when it is unique and the same one is there
        already.

        `about` is the name it shows, `counts` what it sees of the batch, if not what is counted when it runs. Raises
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
            # It was called here, as the jobs of a batch are on such a connection, and its batch has to go on.
            logger.exception("The callback %s failed", about)
            return True

    def _under(self, id: str, payload: Payload) -> Payload:
        """The payload under another id, with what is encrypted or signed for the one it waited under.

        What does not verify stays as it is: the worker that gets it says so, and keeps it.
        """
        if not payload.id.startswith(WAITING):  # of an earlier version, which bound nothing, or of an unknown sender
            return payload.with_(id=id)
        try:
            moved = self._codec.rebound(payload, id)
            return moved.with_(through=rebound(payload.through, self._keys, str(payload), str(moved)))
        except (ConfigurationError, PayloadError):
            return payload.with_(id=id)


def describe(error: BaseException, *, discreet: bool = False) -> dict[str, Any]:
    """An error as JSON. `discreet` leaves out what it says: the errors of encrypted jobs may quote their fields."""
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
    """The error again where its class is at hand, else a JobFailure with its text.

    Only classes of modules that are imported already, only exceptions, and without calling their own code: a message
    must not call anything else.
    """
    name, message = str(described["type"]), str(described["message"])
    kind = find(name)
    error: BaseException = JobFailure(f"{name}: {message}" if message else name)
    if isinstance(kind, type) and issubclass(kind, Exception) and "args" in described:
        with suppress(Exception):  # what is no error's args
            error = _made(kind, tuple(described["args"]))
            vars(error).update(described.get("attributes") or {})
    if "traceback" in described:
        BaseException.add_note(error, f"In the worker:\n{described['traceback']}")
    return error


def _made(kind: type[Exception], args: tuple[Any, ...]) -> Exception:
    builtin = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    if kind is builtin:
        with suppress(Exception):  # UnicodeError, for one, wants other arguments
            return kind(*args)
    error: Exception = builtin.__new__(kind, *args)
    error.args = args
    return error


def _attributes(error: BaseException) -> dict[str, Any]:
    """What the constructor has left on the error, as far as it is plain and short."""
    state: dict[str, Any] = object.__getattribute__(error, "__dict__")  # a class may have hidden its own
    plain = {name: value for name, value in state.items() if type(name) is str and type(value) in _PLAIN}
    texts = {name: storable(value) for name, value in plain.items() if isinstance(value, str)}
    return {**plain, **texts} if sum(map(len, texts.values())) <= _MESSAGE else {}
