"""The definition of a job: turns a class body into a job and refuses invalid bodies with the reason."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

from laraq.errors import JobDefinitionError, OptionError
from laraq.jobs import registry
from laraq.messages import options
from laraq.messages.options import OPTIONS, TABLE

#: What stands in a class body for a field without a plain default.
_FIELDS = (dataclasses.Field, type(dataclasses.MISSING))


def define(cls: type[Any], verbs: frozenset[str]) -> None:
    """Turn a class body into a job: refuse what cannot work, separate options from fields, create the constructor."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    _refuse_foreign(cls, where)
    if "__init__" in cls.__dict__:
        raise JobDefinitionError(
            f"{where} has its own __init__: annotated names are the constructor (`order_id: int`);"
            " put what follows construction into __post_init__."
        )
    # laraq's own jobs keep their names wherever they are defined, because messages of older versions carry them.
    cls._name = vars(cls).get("_travels_as") or registry.name_of(cls.__module__, cls.__qualname__)
    annotations = dict(_own_annotations(cls))
    for name in tuple(annotations):
        if _is_class_variable(annotations[name]) or _is_named(annotations[name], "KW_ONLY"):
            continue
        if name in OPTIONS and not isinstance(cls.__dict__.get(name, dataclasses.MISSING), _FIELDS):
            del annotations[name]
        elif name in OPTIONS or name in verbs:
            kind = "an option" if name in OPTIONS else "a verb"
            raise JobDefinitionError(
                f"{where}: the field {name!r} has the name of {kind} of every job: rename it. In messages and as a"
                f" keyword it may keep it: {name}_: Annotated[..., pydantic.Field(alias={name!r})]."
            )
        elif name.startswith("_"):
            raise JobDefinitionError(f"{where}: the field {name!r} starts with an underscore: fields are public.")
    cls.__annotations__ = annotations
    _refuse_slips(cls, where, annotations)
    _settle_options(cls, where)
    try:
        dataclasses.dataclass(repr=False)(cls)
    except (TypeError, ValueError) as error:
        raise JobDefinitionError(f"{where}: {error}") from None
    _refuse_fields(cls, where)
    if any("alias" in str(field.type) for field in dataclasses.fields(cls)):
        cls.__init__ = _taking_aliases(cls.__init__)
    # A `@dataclass` above the class would replace it by one that shows encrypted fields.
    cls.__repr__ = cls.__repr__
    if hasattr(cls, "handle"):
        registry.register(cls, cls._name)


def frozen(cls: type[Any]) -> JobDefinitionError:
    """The error for a frozen class, which can be detected only when the class is used."""
    return JobDefinitionError(
        f"{cls.__module__}.{cls.__qualname__} is a frozen dataclass, but options and the run are kept on the instance:"
        " remove the decorator, every Job is a dataclass already."
    )


def yields(where: str) -> JobDefinitionError:
    """The error for a generator."""
    return JobDefinitionError(
        f"{where} is a generator, so calling it would run nothing: return a value, or dispatch a job for each item."
    )


def aliases_of(cls: type[Any]) -> dict[str, str]:
    """Field names by their names in messages: `seconds: Annotated[int, Field(alias="timeout")]`."""
    names = {field.name for field in dataclasses.fields(cls) if field.init}
    if not any("alias" in str(field.type) for field in dataclasses.fields(cls)):
        return {}
    found: dict[str, str] = {}
    for name, type_ in typing.get_type_hints(cls, include_extras=True).items():
        for metadata in getattr(type_, "__metadata__", ()) if name in names else ():
            if isinstance(alias := getattr(metadata, "alias", None), str) and alias != name:
                if alias in names or alias in found:
                    raise JobDefinitionError(f"{cls.job_name()}: two fields are called {alias!r}.")
                found[alias] = name
    return found


def _taking_aliases(init: Callable[..., None]) -> Callable[..., None]:
    """The constructor, which also accepts the fields under their names in messages."""

    @functools.wraps(init)
    def __init__(self: Any, /, *args: Any, **fields: Any) -> None:
        if fields.keys() - type(self).__dataclass_fields__.keys():
            names = aliases_of(type(self))
            fields = {names.get(name, name): value for name, value in fields.items()}
        init(self, *args, **fields)

    return __init__


def _refuse_foreign(cls: type[Any], where: str) -> None:
    """Refuse what turns the class into another kind of class, or never runs."""
    # A model exists only where pydantic has been imported.
    if (pydantic := sys.modules.get("pydantic.main")) is not None and issubclass(cls, pydantic.BaseModel):
        raise JobDefinitionError(
            f"{where} is a pydantic model as well: its fields are validated without that (@field_validator and"
            " @model_validator work in a Job); let a field hold the model, or leave BaseModel out."
        )
    if "__slots__" in cls.__dict__ and "__dataclass_fields__" in cls.__dict__:
        raise JobDefinitionError(
            f"{where}: @dataclass(slots=True) makes a new class: remove the decorator, a Job is a dataclass already."
        )
    if not callable(given := getattr(cls, "middleware", None)) or isinstance(given, type):
        raise JobDefinitionError(
            f"{where}: middleware is {given!r:.60}: expected a method, def middleware(self): return [...]."
        )
    handle = getattr(cls, "handle", None)
    if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
        raise yields(where)


def _settle_options(cls: type[Any], where: str) -> None:
    """Check the options that the class and its mixins set, and replace them by plain values."""
    for name in TABLE:
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if owner is not cls and hasattr(owner, "job_name"):
            continue  # it was checked in that class
        value = vars(owner)[name]
        if _is_computed(value):
            if not TABLE[name].method and name != "after_commit":  # which is a method, too
                takes = TABLE[name].kind.takes
                raise JobDefinitionError(f"{where}: {name} is a method, which would not be called: expected {takes}.")
            continue
        try:
            setattr(cls, name, options.checked(name, value))
        except OptionError as error:
            raise JobDefinitionError(f"{where}: {error}.") from None
    if "after_commit" in vars(cls) and not _is_computed(vars(cls)["after_commit"]):
        cls._after_commit = vars(cls)["after_commit"]
        verbs = (vars(base).get("after_commit") for base in cls.__mro__)
        cls.after_commit = next(verb for verb in verbs if _is_computed(verb))
    if (why := options.clash(cls)) is not None:
        raise JobDefinitionError(f"{where}: {why}.")


def _refuse_slips(cls: type[Any], where: str, annotated: Mapping[str, Any]) -> None:
    """Refuse names that are misspelled options; a name that resembles no option is the class's own."""
    for name, value in vars(cls).items():
        if name in annotated or not _may_be_an_option(value):
            continue
        if (near := options.nearest(name)) is not None:
            raise JobDefinitionError(
                f"{where}: unknown option {name!r}. Did you mean {near!r}? If it is a name of your own, write"
                f" {name}: ClassVar = ..."
            )


def _may_be_an_option(value: Any) -> bool:
    if inspect.isfunction(value):
        return value.__code__.co_argcount == 1 and not value.__code__.co_kwonlyargcount
    return not _is_computed(value) and not isinstance(value, type)


def _is_computed(value: Any) -> bool:
    """Whether the value is a method, property or the like, which needs an instance."""
    return not isinstance(value, type) and (callable(value) or hasattr(type(value), "__get__"))


def _refuse_fields(cls: type[Any], where: str) -> None:
    """Refuse fields that an instance would not hold, or not under the rules of its constructor."""
    fields = dataclasses.fields(cls)
    for field in fields:
        if inspect.ismemberdescriptor(getattr(cls, field.name, None)):
            raise JobDefinitionError(f"{where}: the field {field.name!r} is listed in __slots__: remove __slots__.")
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
    """Whether the annotation is that special form of `typing` or `dataclasses`, also as unresolved text."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == name
    return (typing.get_origin(annotation) or annotation) is getattr(typing, name, getattr(dataclasses, name, None))
