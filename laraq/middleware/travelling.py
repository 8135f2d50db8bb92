"""Middleware as it travels with one job: `ChargeOrder(7).through([RateLimited("api")])`.

No code travels. A dataclass travels as its fields, by pydantic; a class that says `to_payload()` and the class method
`from_payload(data)` as what these say; any other as the attributes of its instance, which are then set on a new one
without calling its constructor.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import reduce
from typing import Any

from laraq import registry
from laraq.errors import InvalidJobError, PayloadError, TamperedPayloadError, UnknownMiddlewareError
from laraq.job import Job
from laraq.keys import Keys
from laraq.middleware.rules import Always, OfTypes

#: Marks what is no JSON of its own.
_TYPES, _ALWAYS = "$types", "$always"


def pack(middleware: Sequence[Any], job: Any, keys: Keys) -> tuple[Mapping[str, Any], ...]:
    """JSON-ready, encrypted when the job is. Raises InvalidJobError with the reason for what cannot travel."""
    try:
        packed = tuple(_pack(one) for one in middleware)
    except (TypeError, ValueError) as error:
        raise InvalidJobError(job.job_name(), f"{job.job_name()}: through(): {error}") from error
    if packed and job.encrypted:
        return ({"encrypted": keys.encrypt(json.dumps(packed).encode())},)
    return packed


def unpack(packed: Sequence[Mapping[str, Any]], keys: Keys) -> tuple[Any, ...]:
    """The middleware. Raises UnknownMiddlewareError for a class this process does not have, else PayloadError."""
    if not all(isinstance(one, Mapping) for one in packed):
        raise PayloadError(f"through of a message is {packed!r}, and not what laraq writes.")
    if packed and "encrypted" in packed[0]:
        packed = json.loads(keys.decrypt(str(packed[0]["encrypted"])))
    return tuple(_unpack(one) for one in packed)


def _pack(one: Any) -> dict[str, Any]:
    cls = type(one)
    name = registry.name_of(cls.__module__, cls.__qualname__)
    if not callable(getattr(cls, "handle", None)):
        raise TypeError(f"{one!r} cannot travel: a middleware that does is an object with handle(job, next).")
    if _look_up(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        raise TypeError(f"{one!r} cannot travel: workers would not find its class as {name}.")
    if hasattr(cls, "to_payload"):
        state = one.to_payload()
        json.dumps(state)
    elif is_dataclass(cls):
        from laraq.sameness import difference

        adapter = _adapter(cls)
        state = adapter.dump_python(one, mode="json")
        if found := difference(one, adapter.validate_python(state)):
            raise TypeError(f"{one!r} cannot travel: its {found.path.lstrip('.')}: {found.told(discreet=True)}.")
    elif not hasattr(one, "__dict__"):
        raise TypeError(f"{one!r} cannot travel: it has __slots__, so it needs to_payload() and from_payload(data).")
    else:
        state = {
            attribute: _plain(value, f"{one!r} cannot travel: its {attribute.lstrip('_')}")
            for attribute, value in vars(one).items()
        }
    return {"class": name, "state": state}


def _unpack(packed: Mapping[str, Any]) -> Any:
    name, state = str(packed.get("class")), packed.get("state")
    cls = _class(name)
    try:
        if hasattr(cls, "from_payload"):
            return cls.from_payload(state)
        if is_dataclass(cls):
            return _adapter(cls).validate_python(state)
        one = cls.__new__(cls)
        vars(one).update({attribute: _again(value) for attribute, value in (state or {}).items()})
        return one
    except (TypeError, ValueError, AttributeError) as error:
        raise PayloadError(f"Middleware {name} of a message cannot be made: {error}") from error


def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter  # late: a program that sends no job needs no pydantic

    return TypeAdapter(cls)


def _plain(value: Any, what: str) -> Any:
    """JSON-ready; raises TypeError."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(item, what) for item in value]
        case dict() if not any(str(key).startswith("$") for key in value):
            return {_key(key, what): _plain(item, what) for key, item in value.items()}
        case OfTypes(types):
            return {_TYPES: [_name_of_error(one, what) for one in types]}
        case Always(answer):
            return {_ALWAYS: answer}
    raise TypeError(f"{what} is {value!r}, and only data travels. Say it in the job's own middleware().")


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{what} has the key {key!r}, which is no text.")
    return key


def _name_of_error(error: type[BaseException], what: str) -> str:
    if _look_up(sys.modules.get(error.__module__), error.__qualname__) is not error:
        raise TypeError(f"{what} is {error.__qualname__}, which workers would not find.")
    return registry.name_of(error.__module__, error.__qualname__)


def _again(value: Any) -> Any:
    match value:
        case {"$types": [*names]}:
            return OfTypes(tuple(_error(str(name)) for name in names))
        case {"$always": bool(answer)}:
            return Always(answer)
        case dict():
            return {key: _again(item) for key, item in value.items()}
        case list():
            return [_again(item) for item in value]
    return value


def _class(name: str) -> Any:
    """A class with `handle` that is defined where it is named; not whatever a message may point at."""
    cls = _find(name)
    if name.partition(".")[0] in sys.stdlib_module_names or (isinstance(cls, type) and issubclass(cls, Job)):
        raise TamperedPayloadError(f"{name!r} is no middleware, and is not made from a message.")
    if not isinstance(cls, type) or not callable(getattr(cls, "handle", None)):
        raise PayloadError(f"{name!r} is no class with handle(job, next).")
    return cls


def _error(name: str) -> type[BaseException]:
    error = _find(name)
    if not isinstance(error, type) or not issubclass(error, BaseException):
        raise PayloadError(f"{name!r} is no exception type.")
    return error


def _find(name: str) -> Any:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module_name, qualname = ".".join(parts[:end]), ".".join(parts[end:])
        try:
            module = sys.modules.get(module_name) or importlib.import_module(module_name)
        except ImportError:
            continue
        found = _look_up(module, qualname)
        if getattr(found, "__module__", None) in (module_name, "__main__"):
            return found
    raise UnknownMiddlewareError(name)


def _look_up(module: Any, qualname: str) -> Any:
    return reduce(lambda found, part: getattr(found, part, None), qualname.split("."), module)
