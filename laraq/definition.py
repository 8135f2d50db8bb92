"""The definition of a job: what becomes of a class body, and what is refused in it with the reason."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any

from laraq import registry
from laraq.errors import JobDefinitionError
from laraq.options import OPTIONS, is_lease

#: Options that are amounts of something.
_NUMBERS = ("tries", "max_exceptions", "timeout", "priority")


#: What stands in a class body for a field without a plain default.
_FIELDS = (dataclasses.Field, type(dataclasses.MISSING))


def define(cls: type[Any], verbs: frozenset[str]) -> None:
    """Turn a class body into a job: refuse what cannot work, tell options from fields, make the constructor."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    _refuse_foreign(cls, where)
    if "__init__" in cls.__dict__:
        raise JobDefinitionError(
            f"{where} has its own __init__: annotated names are the constructor (`order_id: int`);"
            " put what follows construction into __post_init__."
        )
    cls._name = registry.name_of(cls.__module__, cls.__qualname__)
    annotations = dict(_own_annotations(cls))
    for name in tuple(annotations):
        if _is_class_variable(annotations[name]) or _is_named(annotations[name], "KW_ONLY"):
            continue
        if name in OPTIONS and not isinstance(cls.__dict__.get(name, dataclasses.MISSING), _FIELDS):
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
    _refuse_fields(cls, where)
    # A `@dataclass` that somebody writes above the class would put one in its place that shows encrypted fields.
    cls.__repr__ = cls.__repr__
    if hasattr(cls, "handle"):
        registry.register(cls, cls._name)


def frozen(cls: type[Any]) -> JobDefinitionError:
    """Why such a class is refused; it can be seen only once the class is there, when it is used."""
    return JobDefinitionError(
        f"{cls.__module__}.{cls.__qualname__} is a frozen dataclass, but options and the run are kept on the instance:"
        " leave the decorator out, every Job is a dataclass."
    )


def yields(where: str) -> JobDefinitionError:
    """Why a generator is refused."""
    return JobDefinitionError(
        f"{where} yields, so that calling it would run nothing: return a value, or dispatch a job for each."
    )


def _refuse_foreign(cls: type[Any], where: str) -> None:
    """What makes another kind of class of it, or never runs."""
    # A model exists only where pydantic has been imported.
    if (pydantic := sys.modules.get("pydantic.main")) is not None and issubclass(cls, pydantic.BaseModel):
        raise JobDefinitionError(
            f"{where} is a pydantic model as well: its fields are validated without that (@field_validator and"
            " @model_validator work in a Job); let a field hold the model, or leave BaseModel out."
        )
    if "__slots__" in cls.__dict__ and "__dataclass_fields__" in cls.__dict__:
        raise JobDefinitionError(
            f"{where}: @dataclass(slots=True) makes a new class: leave it out, a Job is a dataclass."
        )
    handle = getattr(cls, "handle", None)
    if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
        raise yields(where)


def _refuse_fields(cls: type[Any], where: str) -> None:
    """Fields that an instance would not hold, or not under its constructor's rules."""
    fields = dataclasses.fields(cls)
    for field in fields:
        if inspect.ismemberdescriptor(getattr(cls, field.name, None)):
            raise JobDefinitionError(f"{where}: the field {field.name!r} stands in __slots__: leave __slots__ out.")
        if type(field.default).__name__ == "FieldInfo":
            raise JobDefinitionError(
                f"{where}: the field {field.name!r} has pydantic's Field(...) as its value: write"
                f" {field.name}: Annotated[..., Field(...)], with the default behind it."
            )
    code = cls.__init__.__code__
    given = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    if lost := set(given) - {field.name for field in fields if field.init}:
        raise JobDefinitionError(
            f"{where}: {', '.join(sorted(lost))} is an InitVar, which the instance does not keep, so it cannot travel:"
            " make it a field."
        )


def _own_annotations(cls: type[Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _is_class_variable(annotation: Any) -> bool:
    return _is_named(annotation, "ClassVar")


def _is_named(annotation: Any, name: str) -> bool:
    """Whether the annotation is that special form of `typing` or `dataclasses`, also as text that nothing resolved."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == name
    return (typing.get_origin(annotation) or annotation) is getattr(typing, name, getattr(dataclasses, name, None))


def _is_amount(value: Any) -> bool:
    seconds = getattr(value, "total_seconds", None)
    amount = seconds() if seconds else value
    return isinstance(amount, (int, float)) and amount >= 0
