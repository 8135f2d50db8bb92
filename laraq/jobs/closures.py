"""Closures as jobs: functions by name, lambdas and nested functions by value, signed.

(Illuminate/Queue/CallQueuedClosure.php)
"""

from __future__ import annotations

import base64
import inspect
import logging
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any

from laraq.current import current
from laraq.errors import (
    ConfigurationError,
    InvalidJobError,
    JobDefinitionError,
    MissingExtraError,
    PayloadError,
)
from laraq.jobs import registered, registry
from laraq.jobs.definition import yields
from laraq.jobs.function import JobFunction
from laraq.jobs.job import Job
from laraq.process import aio

logger = logging.getLogger("laraq.closures")


class CallQueuedClosure(Job):
    """Calls a dispatched plain function. The function's parameters are injected; `job` is this job."""

    _travels_as = "laraq.closures.CallQueuedClosure"

    #: Dotted path of a module-level function, or the name of a function sent by value.
    function: str
    #: cloudpickle's bytes, base64, for a function sent by value.
    code: str | None = None
    #: Signature over both, with `laraq_keys`; required for code, and for names as soon as keys are configured.
    signature: str | None = None
    #: Callbacks of `catch`, in the same three parts.
    catchers: tuple[dict[str, str | None], ...] = ()

    delete_when_missing_models = True

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The function itself, so that its parameters are injected."""
        function = unpack({"function": self.function, "code": self.code, "signature": self.signature})
        given = {"job": self} if "job" in inspect.signature(function).parameters else {}
        return function, given

    def handle(self) -> None:
        """Never called: `entry` is called in its place."""

    def failed(self, error: BaseException | None) -> None:
        """Call the `catch` callbacks."""
        for packed in self.catchers:
            try:
                called = unpack(packed)(error)
                if inspect.iscoroutine(called):
                    aio.run(called)
            except Exception:
                logger.exception("A catch callback of %s raised", self.function)

    def named(self, name: str) -> CallQueuedClosure:
        """Set the display name."""
        self.display_name = name
        return self

    def catch(self, callback: Callable[[BaseException | None], Any]) -> CallQueuedClosure:
        """Call `callback(error)` when the closure has failed for good; may be called several times."""
        self.catchers = (*self.catchers, pack(callback))
        return self


def closure(function: Callable[..., Any]) -> CallQueuedClosure:
    """A function as a job to configure: `closure(fn).named("x").catch(on_error).on_queue("low").dispatch()`.

    Raises ConfigurationError for a lambda or nested function without `laraq_keys`, and JobDefinitionError for one that
    yields.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise yields(f"{function.__module__}.{function.__qualname__}")
    job = CallQueuedClosure(**pack(function))  # type: ignore[arg-type] # the keys are the fields
    if job.code is not None and isinstance(function, FunctionType):
        code = function.__code__
        job.display_name = f"Closure ({code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno})"
    return job


def as_job(thing: Any) -> Any:
    """Convert the argument of `dispatch(...)` to a job.

    Raises JobDefinitionError if that is impossible.
    """
    if isinstance(thing, Job):
        return thing
    if isinstance(thing, JobFunction):
        return thing.job()
    if isinstance(thing, type) and issubclass(thing, Job):
        return thing()
    if (made := getattr(thing, "as_job", None)) is not None:
        return made()
    if callable(thing):
        return closure(thing)
    raise JobDefinitionError(f"{thing!r} is not a job: dispatch a Job instance, a @job function, or a function.")


def pack(function: Callable[..., Any]) -> dict[str, str | None]:
    """Pack a function for a message: by name, or by value and signed.

    Raises ConfigurationError for a function without an importable name when there are no `laraq_keys`.
    """
    keys = current().keys
    name = _importable_name(function)
    if name is not None:
        if not registered.is_registered(function):
            logger.warning(
                "Function %s is run by this process only, other workers refuse it: %s", name, registered.REMEDY
            )
            registered.register(function)  # this process named it itself
        return {"function": name, "code": None, "signature": keys.sign(_signed(name, None)) if keys else None}
    label = getattr(function, "__qualname__", type(function).__name__)
    if not keys:
        raise ConfigurationError(
            f"{label} cannot be found by name, so its code would travel with the message, and that is only accepted"
            " signed: set laraq_keys, or dispatch a module-level function or a Job."
        )
    try:
        import cloudpickle
    except ImportError:
        raise MissingExtraError("A lambda or nested function as a job", "cloudpickle", "closures") from None
    with suppress(NameError):  # names of annotations do not travel with the code
        function.__annotations__ = typing.get_type_hints(function, include_extras=True)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        pickled = cloudpickle.dumps(function)
    except Exception as error:  # whatever the captured objects raise
        raise InvalidJobError(
            label,
            f"Closure {label} cannot be sent: {error}. It captures an object of this process, such as a lock, a file or"
            " a connection: create that inside the function, or pass a name by which a worker can find it.",
        ) from error
    code = f"{python}:{base64.b64encode(pickled).decode()}"
    return {"function": label, "code": code, "signature": keys.sign(_signed(label, code))}


def unpack(packed: Mapping[str, str | None]) -> Callable[..., Any]:
    """Restore the packed function.

    Raises TamperedPayloadError, or PayloadError for a function this process does not have.
    """
    keys = current().keys
    name, code = packed["function"] or "", packed["code"]
    if code is None:
        keys.check(f"Function {name!r}", _signed(name, None), packed["signature"])
        return registered.find_function(name)
    keys.verify(_signed(name, code), packed["signature"] or "")
    python, _, encoded = code.partition(":")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != here:
        raise PayloadError(f"Closure {name} was made by Python {python}; this worker is Python {here}.")
    import pickle

    function: Callable[..., Any] = pickle.loads(base64.b64decode(encoded))  # noqa: S301 - its signature was verified above
    return function


def _signed(name: str, code: str | None) -> bytes:
    return f"{name}\n{code or ''}".encode()


def _importable_name(function: Callable[..., Any]) -> str | None:
    if not isinstance(function, FunctionType) or "<" in function.__qualname__ or "." in function.__qualname__:
        return None
    module = sys.modules.get(function.__module__)
    if getattr(module, function.__qualname__, None) is not function:
        return None
    return registry.name_of(function.__module__, function.__qualname__)
