"""The definition of a job: what becomes of a class body, and what is refused in it with the reason."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from laraq import registry
from laraq.errors import JobDefinitionError
from laraq.options import OPTIONS, is_lease

#: Options that are amounts of something.
_NUMBERS = ("tries", "max_exceptions", "timeout", "priority")


def define(cls: type[Any], verbs: frozenset[str]) -> None:
    """Turn a class body into a job: refuse what cannot work, tell options from fields, make the constructor."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    if "__init__" in cls.__dict__:
        raise JobDefinitionError(
            f"{where} has its own __init__: annotated names are the constructor (`order_id: int`);"
            " put what follows construction into __post_init__."
        )
    cls._name = registry.name_of(cls.__module__, cls.__qualname__)
    annotations = dict(_own_annotations(cls))
    for name in tuple(annotations):
        if _is_class_variable(annotations[name]):
            continue
        if name in OPTIONS and name in cls.__dict__:
            del annotations[name]
        elif name in OPTIONS or name in verbs:
            kind = "an option" if name in OPTIONS else "a verb"
            raise JobDefinitionError(f"{where}: the field {name!r} has the name of {kind} of every job: rename it.")
        elif name.startswith("_"):
            raise JobDefinitionError(f"{where}: the field {name!r} starts with an underscore: fields are public.")
    cls.__annotations__ = annotations
    for name in _NUMBERS:
        value = cls.__dict__.get(name)
        if value is not None and not callable(value) and (isinstance(value, bool) or not _is_amount(value)):
            raise JobDefinitionError(f"{where}: {name} = {value!r} is not a number of at least 0.")
    if (length := cls.__dict__.get("unique_for")) is not None and not callable(length) and not is_lease(length):
        raise JobDefinitionError(
            f"{where}: unique_for = {length!r} is no length of time for a lock: give seconds above 0, or leave it out"
            " for 24 h."
        )
    if "after_commit" in cls.__dict__ and not callable(cls.__dict__["after_commit"]):
        cls._after_commit = cls.__dict__["after_commit"]
        del cls.after_commit
    if cls.debounce_for and cls.unique:
        raise JobDefinitionError(f"{where}: a job is either unique or debounced, not both.")
    try:
        dataclasses.dataclass(repr=False)(cls)
    except (TypeError, ValueError) as error:
        raise JobDefinitionError(f"{where}: {error}") from None
    if hasattr(cls, "handle"):
        registry.register(cls, cls._name)


def _own_annotations(cls: type[Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == "ClassVar"
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _is_amount(value: Any) -> bool:
    seconds = getattr(value, "total_seconds", None)
    amount = seconds() if seconds else value
    return isinstance(amount, (int, float)) and amount >= 0
