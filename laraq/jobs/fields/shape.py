"""The fields that a job class declares, as pydantic's core schema."""

from __future__ import annotations

import dataclasses
import threading
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypeVar

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from laraq.errors import JobDefinitionError, did_you_mean
from laraq.jobs.definition import frozen
from laraq.jobs.fields.mapped import by_identifier
from laraq.jobs.fields.schema import Node
from laraq.ports import Models

#: What pydantic's decorators leave in a class body, and what pydantic replaces that by once it has read the class.
_DECORATOR, _DECORATORS = "decorator_info", "__pydantic_decorators__"

#: Held while the types of dataclass fields are replaced for pydantic to read.
_reading = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The schema of the fields of a class."""

    job: str
    types: Mapping[str, Any]
    #: Whether the class has pydantic's decorators.
    decorated: bool
    #: Validates a mapping of all fields: to a dict, or to an instance where the class is decorated.
    receiving: CoreSchema
    #: Serializes that dict or instance.
    sending: CoreSchema
    #: The schemas of the fields.
    parts: Mapping[str, Node]

    def described(self, name: str) -> str:
        """The field, in words."""
        return _described(self.job, name, self.types[name])


def shape_of(cls: type[Any], names: Sequence[str], models: Sequence[Models]) -> Shape:
    """Raise JobDefinitionError, which names the field, for a type that pydantic does not know."""
    if cls.__dataclass_params__.frozen:
        raise frozen(cls)
    types_ = {
        name: by_identifier(type_, models, not cls.without_relations) for name, type_ in _types(cls, names).items()
    }
    decorated = _is_decorated(cls, names)
    try:
        if not decorated:
            schema = _of_types(cls, types_)
            parts = _along(schema, "typed-dict")["fields"]
            return Shape(cls.job_name(), types_, False, schema, schema, {name: parts[name] for name in names})
        sending = _of_class(cls, types_)
        listed = _along(sending, "dataclass-args")["fields"]
        receiving = _building(sending, cls)
        return Shape(cls.job_name(), types_, True, receiving, sending, {part["name"]: part for part in listed})
    except Exception as error:  # raised by pydantic, its core, or a type that builds its own schema
        raise _unfit(cls, types_, error) from None


def _of_types(cls: type[Any], types_: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    shape = TypedDict(  # type: ignore[misc] # made at run time
        cls.job_name(),
        {name: NotRequired[type_] if _optional(fields[name]) else type_ for name, type_ in types_.items()},
    )
    shape.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined] # pydantic reads it there
    return TypeAdapter(shape).core_schema


def _of_class(cls: type[Any], types_: Mapping[str, Any]) -> Any:
    """The schema as pydantic reads dataclasses, with the validators and serializers in their bodies."""
    fields = [field for field in dataclasses.fields(cls) if field.name in types_]
    with _reading:
        written = [field.type for field in fields]
        try:
            for field in fields:
                field.type = types_[field.name]
            schema = TypeAdapter(cls).core_schema
        finally:
            for field, type_ in zip(fields, written, strict=True):
                field.type = type_
    own = [part for part in _along(schema, "dataclass-args")["fields"] if part["name"] in types_]
    schema = _replaced(schema, "dataclass-args", lambda node: {**node, "fields": own})
    return _replaced(schema, "dataclass", lambda node: {**node, "fields": [part["name"] for part in own]})


def _building(schema: Any, cls: type[Any]) -> Any:
    """The schema changed to call the class's constructor."""

    def as_dict(node: Node) -> Node:
        fields = {
            part["name"]: {
                **{key: value for key, value in part.items() if key in ("schema", "validation_alias", "metadata")},
                "type": "typed-dict-field",
                "required": part["schema"]["type"] != "default",
            }
            for part in node["fields"]
        }
        return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid"}

    def built(node: Node) -> Any:
        inner: Any = _replaced(node["schema"], "dataclass-args", as_dict)
        return core_schema.no_info_after_validator_function(lambda values: cls(**values), inner)

    return _replaced(schema, "dataclass", built)


def _along(node: Any, kind: str) -> Any:
    """The node of that kind, inside the nodes wrapped around it."""
    return node if node["type"] == kind else _along(node["schema"], kind)


def _replaced(node: Any, kind: str, change: Any) -> Any:
    if node["type"] == kind:
        return change(node)
    return {**node, "schema": _replaced(node["schema"], kind, change)}


def _optional(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _is_decorated(cls: type[Any], names: Sequence[str]) -> bool:
    """Whether the class or its parents have pydantic's decorators. Raises JobDefinitionError for a decorator of a field
    that the class does not have: pydantic would never call it."""
    held = [(name, value) for base in cls.__mro__ for name, value in vars(base).items()]
    for name, value in held:
        info = getattr(value, _DECORATOR, None)
        for field in getattr(info, "fields", ()) if getattr(info, "check_fields", None) is not False else ():
            if field not in (*names, "*"):
                raise JobDefinitionError(
                    f"{cls.job_name()}: {name} is about the field {field!r}, which the job does not have."
                    f"{did_you_mean(field, names)}"
                )
    return any(name == _DECORATORS or hasattr(value, _DECORATOR) for name, value in held)


# -- the types ------------------------------------------------------------------------------------------------------


def _types(cls: type[Any], names: Iterable[str]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise JobDefinitionError(f"{cls.job_name()}: the type of a field cannot be resolved: {error}") from None
    except Exception as error:
        raise JobDefinitionError(f"{cls.job_name()}: the types of its fields cannot be read: {error}") from None
    parameters = dict(_parameters(cls, {}))
    found = {}
    for name in names:
        field = cls.__dataclass_fields__[name]
        # A child has the same field object as the parent that defines it.
        [*_, owner] = (base for base in cls.__mro__ if vars(base).get("__dataclass_fields__", {}).get(name) is field)
        type_ = hints[name]
        if typing.get_origin(type_) is typing.Final:
            [type_] = typing.get_args(type_)
        if type_ is typing.Final:
            raise JobDefinitionError(
                f"{cls.job_name()}: field {name!r} is Final without a type: write Final[int], or ClassVar[int] for what"
                " is the same in every job."
            )
        found[name] = _filled_in(type_, parameters.get(owner, {}))
    return found


def _parameters(cls: type[Any], given: Mapping[Any, Any]) -> Iterable[tuple[type[Any], Mapping[Any, Any]]]:
    """The type arguments of each class in the hierarchy: `class Ship(Handle[Order])` sets Handle's T."""
    yield cls, given
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(base) or base
        if origin in (typing.Generic, typing.Protocol) or not isinstance(origin, type):
            continue
        arguments = (_filled_in(argument, given) for argument in typing.get_args(base))
        yield from _parameters(origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False)))


def _filled_in(type_: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(type_, TypeVar):
        return given.get(type_, type_)
    parameters = getattr(type_, "__parameters__", ())
    if not parameters or not given or (isinstance(type_, type) and not isinstance(type_, types.GenericAlias)):
        return type_
    return type_[tuple(given.get(parameter, parameter) for parameter in parameters)]


# -- what is refused ------------------------------------------------------------------------------------------------


def _unfit(cls: type[Any], types_: Mapping[str, Any], error: Exception) -> JobDefinitionError:
    where = cls.job_name()
    for name, type_ in types_.items():
        try:
            _of_types(cls, {name: type_})
        except Exception as of_field:
            where, error = _described(cls.job_name(), name, type_), of_field
            break
    lines = str(getattr(error, "message", error) or repr(error)).splitlines()
    reason = " ".join(line.strip() for line in lines[:4]).partition(". Set `arbitrary_types_allowed")[0].rstrip(".")
    hint = " Mapped SQLAlchemy classes travel by identifier when Laraq(app, sessions=sessionmaker(...)) is given."
    known = not isinstance(error, PydanticSchemaGenerationError)
    return JobDefinitionError(f"{where} cannot travel as JSON: {reason}.{'' if known else hint}")


def _described(job: str, name: str, type_: Any) -> str:
    typed = type_.__qualname__ if isinstance(type_, type) and not typing.get_args(type_) else str(type_)
    return f"{job}: field {name!r} of type {typed.replace('typing.', '')}"
