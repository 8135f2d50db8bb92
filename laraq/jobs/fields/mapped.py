"""Mapped instances as fields: they are sent as identifiers and fetched again where the job runs."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationInfo
from pydantic_core import CoreSchema, core_schema, to_json

from laraq.errors import ModelNotFoundError
from laraq.ports import Models


class WithoutRelations:
    """`podcast: Annotated[Podcast, WithoutRelations]`: send only the identifier, not the names of loaded relations."""


class Sent(dict[bytes, Any]):
    """pydantic's context for the check that a job arrives: its rows by identifier, in place of fetched ones."""


def by_identifier(type_: Any, models: Sequence[Models], relations: bool) -> Any:
    """The annotation with every mapped class in it replaced by a type that is sent as an identifier."""
    if not models:
        return type_
    if isinstance(type_, type):
        for provider in models:
            if provider.handles(type_):
                return typing.Annotated[type_, _Identifier(provider, type_, relations)]
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is None:
        return type_
    if origin is typing.Annotated:
        bare = any(mark is WithoutRelations or isinstance(mark, WithoutRelations) for mark in type_.__metadata__)
        inner = by_identifier(arguments[0], models, relations and not bare)
        return typing.Annotated[(inner, *type_.__metadata__)]
    if origin in _COLLECTIONS and isinstance(arguments[0], type) and arguments[-1] in (arguments[0], ...):
        for provider in models:
            if provider.handles(arguments[0]):
                mark = _Identifiers(provider, arguments[0], relations, _COLLECTIONS[origin])
                return typing.Annotated[type_, mark]
    inner_types = tuple(by_identifier(argument, models, relations) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[inner_types]  # noqa: UP007 - built at run time from a tuple
    return origin[inner_types] if inner_types != arguments else type_


_COLLECTIONS: Mapping[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    collections.abc.Sequence: list,
}


@dataclasses.dataclass(frozen=True)
class _Identifier:
    """pydantic's view of one mapped instance: itself in the producer, its identifier on the wire."""

    models: Models
    type_: type[Any]
    relations: bool

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._identify, info_arg=True),
        )

    def _identify(self, value: Any, info: SerializationInfo) -> Any:
        return _identified(self.models, value, self.relations, info.context)

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, self.type_):
            return value
        if info.mode != "json":
            raise ValueError(f"Input should be a {self.type_.__name__}")
        if isinstance(info.context, Sent):
            return info.context[to_json(value)]
        if not isinstance(value, Mapping):
            value = {"id": value}  # a message of another sender: the bare primary key
        [found] = self.models.fetch(self.type_, [value])
        if found is None:
            raise ModelNotFoundError(self.type_.__name__, value.get("id"))
        return found


@dataclasses.dataclass(frozen=True)
class _Identifiers:
    """pydantic's view of a collection: fetched at once, in the order sent, without missing rows (as in Laravel)."""

    models: Models
    type_: type[Any]
    relations: bool
    collect: Callable[[Iterable[Any]], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._identify, info_arg=True),
        )

    def _identify(self, values: Any, info: SerializationInfo) -> Any:
        return [_identified(self.models, value, self.relations, info.context) for value in values]

    def _validate(self, values: Any, info: ValidationInfo) -> Any:
        values = list(values) if isinstance(values, collections.abc.Iterable) else [values]
        if all(isinstance(value, self.type_) for value in values):
            return self.collect(values)
        if info.mode != "json":
            raise ValueError(f"Input should be a collection of {self.type_.__name__}")
        if isinstance(info.context, Sent):
            return self.collect(info.context[to_json(value)] for value in values)
        values = [value if isinstance(value, Mapping) else {"id": value} for value in values]
        return self.collect(found for found in self.models.fetch(self.type_, values) if found is not None)


def _identified(models: Models, row: Any, relations: bool, context: Any) -> Any:
    identifier = models.identify(row, relations=relations)
    if isinstance(context, Sent):
        context[to_json(identifier)] = row
    return identifier


def is_row(validate: Any) -> bool:
    """Whether a validator function in a core schema belongs to mapped instances."""
    function = validate.get("function") if isinstance(validate, dict) else None
    return isinstance(getattr(function, "__self__", None), (_Identifier, _Identifiers))
