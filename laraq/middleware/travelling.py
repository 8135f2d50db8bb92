"""Middleware that is sent with one job: `ChargeOrder(7).through([RateLimited("api")])`.

No code is sent, and a message creates only objects of registered classes (`jobs/registered.py`) and, if there are
keys, only from signed data. A dataclass is sent as its fields, by pydantic; a class that defines `to_payload()` and the
class method `from_payload(data)` as the data of these; any other as the attributes of its instance, which are then set
on a new one without calling its constructor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from laraq import middleware as built_in
from laraq.current import current
from laraq.errors import InvalidJobError, PayloadError, TamperedPayloadError, UnknownMiddlewareError
from laraq.jobs import registered, registry
from laraq.jobs.job import Job
from laraq.messages.keys import Keys
from laraq.middleware.rules import Always, OfTypes
from laraq.middleware.stored import Stored

#: Marks values that JSON does not have.
_TYPES, _ALWAYS = "$types", "$always"


def pack(middleware: Sequence[Any], job: Any, keys: Keys, bound_to: str = "") -> tuple[Mapping[str, Any], ...]:
    """JSON-ready middleware: encrypted if the job is, else signed if there are keys; both bound to message `bound_to`.

    Raises InvalidJobError with the reason why middleware cannot be sent.
    """
    packed = []
    for one in middleware:
        try:
            packed.append(_pack(one))
            if not keys:
                _check_store(one)
        except (TypeError, ValueError) as error:
            if job.encrypted:  # the reason quotes values
                raise InvalidJobError(
                    job.job_name(), f"{job.job_name()}: through(): {type(one)} cannot travel."
                ) from None
            raise InvalidJobError(job.job_name(), f"{job.job_name()}: through(): {error}") from error
    if packed and job.encrypted:
        return ({"encrypted": keys.seal(packed, _place(bound_to))},)
    if packed and keys:
        return ({**packed[0], "signature": keys.sign(_signed(packed, bound_to))}, *packed[1:])
    return tuple(packed)


def unpack(packed: Sequence[Mapping[str, Any]], keys: Keys, bound_to: str = "") -> tuple[Any, ...]:
    """The middleware of the message `bound_to`.

    Raises UnknownMiddlewareError for a class this process does not have, else PayloadError.
    """
    if not packed:
        return ()
    first = packed[0] if isinstance(packed[0], Mapping) else {}
    encrypted = "encrypted" in first
    if encrypted:
        packed = keys.unseal(str(first["encrypted"]), _place(bound_to))
    if not isinstance(packed, Sequence) or not all(isinstance(one, Mapping) for one in packed):
        raise PayloadError(f"through of {bound_to} is not in the form that laraq writes.")
    classes = [_class(str(one.get("class"))) for one in packed]
    signature = first.get("signature")
    ours = encrypted or keys.check("through", _signed(packed, bound_to), None if signature is None else str(signature))
    made = tuple(_make(cls, one, discreet=encrypted) for cls, one in zip(classes, packed, strict=True))
    if not ours:
        try:
            for one in made:
                _check_store(one)
        except TypeError as error:
            raise PayloadError(f"through of {bound_to}: {error}") from None
    return made


def rebound(packed: Sequence[Mapping[str, Any]], keys: Keys, old: str, new: str) -> tuple[Mapping[str, Any], ...]:
    """Encrypted or signed middleware of one message, bound to another one.

    Raises TamperedPayloadError, ConfigurationError.
    """
    first = packed[0] if packed and isinstance(packed[0], Mapping) else {}
    if "encrypted" in first:
        return ({"encrypted": keys.seal(keys.unseal(str(first["encrypted"]), _place(old)), _place(new))},)
    if "signature" in first and all(isinstance(one, Mapping) for one in packed):
        keys.verify(_signed(packed, old), str(first["signature"]))
        return ({**first, "signature": keys.sign(_signed(packed, new))}, *packed[1:])
    return tuple(packed)


def _place(bound_to: str) -> str:
    return f"through of {bound_to}"


def _signed(packed: Sequence[Mapping[str, Any]], bound_to: str) -> bytes:
    """The signed bytes: the same before and after any carrier."""
    parts = [[one.get("class"), one.get("state")] for one in packed]
    return json.dumps([_place(bound_to), json.loads(json.dumps(parts))], sort_keys=True).encode()


def _check_store(one: Any) -> None:
    """Raise TypeError for a store that only code or signed messages may name: workers connect to a named store."""
    store = getattr(one, "_connection", None) if isinstance(one, Stored) else None
    if store is not None and not (isinstance(store, str) and current().names_store(store)):
        raise TypeError(
            f"{one!r} counts in a store that no setting names, and messages are not signed: set laraq_keys, or add"
            " it in the job's own middleware() instead."
        )


def _pack(one: Any) -> dict[str, Any]:
    cls = type(one)
    name = registry.name_of(cls.__module__, cls.__qualname__)
    if not callable(getattr(cls, "handle", None)):
        raise TypeError(f"{one!r} cannot travel: expected an object with handle(job, next).")
    if registered.look_up(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        raise TypeError(f"{one!r} cannot travel: workers would not find its class as {name}.")
    if not _may_travel(cls):
        raise TypeError(f"{one!r} cannot travel by its class {name}: {registered.REMEDY}")
    if hasattr(cls, "to_payload"):
        state = one.to_payload()
        json.dumps(state)
    elif is_dataclass(cls):
        from laraq.jobs.fields.sameness import difference

        adapter = _adapter(cls)
        state = adapter.dump_python(one, mode="json")
        if found := difference(one, adapter.validate_python(state)):
            raise TypeError(f"{one!r} cannot travel: its {found.path.lstrip('.')}: {found.described(discreet=True)}.")
    elif not hasattr(one, "__dict__"):
        raise TypeError(f"{one!r} cannot travel: it has __slots__, so it needs to_payload() and from_payload(data).")
    else:
        state = {
            attribute: _plain(value, f"{one!r} cannot travel: its {attribute.lstrip('_')}")
            for attribute, value in vars(one).items()
        }
    return {"class": name, "state": state}


def _make(cls: Any, packed: Mapping[str, Any], *, discreet: bool) -> Any:
    name, state = packed.get("class"), packed.get("state")
    try:
        if hasattr(cls, "from_payload"):
            return cls.from_payload(state)
        if is_dataclass(cls):
            return _adapter(cls).validate_python(state)
        one = cls.__new__(cls)
        vars(one).update({attribute: _again(value) for attribute, value in (state or {}).items()})
        return one
    except (TypeError, ValueError, AttributeError) as error:
        why = type(error).__name__ if discreet else str(error)
        raise PayloadError(f"Middleware {name} cannot be created from a message: {why}") from (
            None if discreet else error
        )


def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter  # late: a program that sends no jobs does not need pydantic

    return TypeAdapter(cls)


def _plain(value: Any, what: str) -> Any:
    """A JSON-ready value; raises TypeError."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(item, what) for item in value]
        case dict() if not any(str(key).startswith("$") for key in value):
            return {_key(key, what): _plain(item, what) for key, item in value.items()}
        case OfTypes(types, names):
            return {_TYPES: [*(_name_of_error(one, what) for one in types), *names]}
        case Always(answer):
            return {_ALWAYS: answer}
    raise TypeError(
        f"{what} is {value!r}, and only data can travel with a message. Add it in the job's own middleware() instead."
    )


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{what} has the key {key!r}, which is not text.")
    return key


def _name_of_error(error: type[BaseException], what: str) -> str:
    if registered.look_up(sys.modules.get(error.__module__), error.__qualname__) is not error:
        raise TypeError(f"{what} is {error.__qualname__}, which workers could not find by its name.")
    return registry.name_of(error.__module__, error.__qualname__)


def _again(value: Any) -> Any:
    match value:
        case {"$types": [*names]}:
            return _of_types([str(name) for name in names])
        case {"$always": bool(answer)}:
            return Always(answer)
        case dict():
            return {key: _again(item) for key, item in value.items()}
        case list():
            return [_again(item) for item in value]
    return value


def _class(name: str) -> Any:
    """A registered class with `handle`, not any object that a message may name."""
    cls = registered.find(name)
    if cls is None:
        raise UnknownMiddlewareError(name)
    if name.partition(".")[0] in sys.stdlib_module_names or (isinstance(cls, type) and issubclass(cls, Job)):
        raise TamperedPayloadError(f"{name!r} is not a middleware class and is not created from a message.")
    if not isinstance(cls, type) or not callable(getattr(cls, "handle", None)):
        raise PayloadError(f"{name!r} is not a class with handle(job, next).")
    if not _may_travel(cls):
        raise PayloadError(f"Middleware {name!r} is not created from a message: {registered.REMEDY}")
    return cls


def _may_travel(cls: Any) -> bool:
    return getattr(built_in, cls.__name__, None) is cls or registered.is_registered(cls)


def _of_types(names: Sequence[str]) -> OfTypes:
    """Types that are not imported here are kept by name, which is enough to compare an error with them."""
    found = {name: registered.find(name) for name in names}
    types = {name: one for name, one in found.items() if isinstance(one, type)}
    if wrong := next((name for name, one in types.items() if not issubclass(one, BaseException)), None):
        raise PayloadError(f"{wrong!r} is not an exception type.")
    return OfTypes(tuple(types.values()), tuple(name for name in names if name not in types))
