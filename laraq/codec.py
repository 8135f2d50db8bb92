"""Codec: job fields <-> JSON, through pydantic; mapped instances by identifier; encryption.

Fields are validated twice, in the producer and in the worker, by the same types.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NotRequired, Protocol
from weakref import WeakKeyDictionary

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import (
    CoreSchema,
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    core_schema,
    to_json,
)
from typing_extensions import TypedDict

from laraq.errors import (
    ConfigurationError,
    InvalidJobError,
    JobDefinitionError,
    LaraqError,
    ModelNotFoundError,
    PayloadError,
)
from laraq.keys import Keys
from laraq.options import OPTIONS
from laraq.payload import CIPHER, Payload
from laraq.ports import Models


class WithoutRelations:
    """`podcast: Annotated[Podcast, WithoutRelations]`: send the identifier alone, not which relations were loaded."""


class FieldsCodec(Protocol):
    """What turns the fields of one job class into JSON and back."""

    def dump(self, job: Any) -> dict[str, Any]:
        """JSON-ready fields, validated; raises pydantic's ValidationError."""

    def load(self, args: Sequence[Any], fields: Mapping[str, Any], discreet: bool = False) -> Any:
        """A new instance; raises pydantic's ValidationError, which quotes no value when `discreet`."""


class Codec:
    """Dumps and loads jobs of every class, with the keys and models of one Laraq."""

    def __init__(self, keys: Keys | None = None, models: Callable[[], Iterable[Models]] = tuple) -> None:
        self._keys = keys or Keys()
        self._models = models
        self._codecs: WeakKeyDictionary[type[Any], FieldsCodec] = WeakKeyDictionary()

    def dump(self, job: Any) -> dict[str, Any]:
        """The fields as they travel: JSON-ready, encrypted when the job says so.

        Raises InvalidJobError with pydantic's message, naming job and field.
        """
        try:
            fields = self._codec(type(job)).dump(job)
        except ValidationError as error:
            raise InvalidJobError(type(job).job_name(), str(error)) from None
        except PydanticSerializationError as error:
            if isinstance(error.__cause__, LaraqError):
                raise error.__cause__ from None
            raise InvalidJobError(type(job).job_name(), f"{type(job).job_name()}: {error}") from error
        return {CIPHER: self._keys.encrypt(to_json(fields))} if job.encrypted else fields

    def load(self, cls: type[Any], payload: Payload) -> Any:
        """A new instance of the job, as its fields say.

        Raises PayloadError, TamperedPayloadError, or ModelNotFoundError when a row is gone.
        """
        fields = payload.fields
        discreet = CIPHER in fields or bool(cls.encrypted)
        if CIPHER in fields:
            try:
                fields = json.loads(self._keys.decrypt(str(fields[CIPHER])))
            except ConfigurationError as error:
                raise PayloadError(f"Job {payload.job} cannot be decrypted by this worker: {error}") from None
        try:
            return self._codec(cls).load(payload.args, fields, discreet)
        except (ValidationError, TypeError) as error:
            raise PayloadError(f"Job {payload.job} cannot be made from its message: {error}") from None

    def _codec(self, cls: type[Any]) -> FieldsCodec:
        codec = self._codecs.get(cls)
        if codec is None:
            make = getattr(cls, "_fields_codec", None)
            codec = self._codecs[cls] = make() if make else PydanticFields(cls, tuple(self._models()))
        return codec


class PydanticFields:
    """Fields of a Job class, one TypeAdapter for all of them."""

    def __init__(self, cls: type[Any], models: Sequence[Models]) -> None:
        self._cls = cls
        fields = [field for field in dataclasses.fields(cls) if field.init and field.name not in OPTIONS]
        self.names = tuple(field.name for field in fields)
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except NameError as error:
            raise JobDefinitionError(f"{cls.job_name()}: the type of a field cannot be resolved: {error}") from None
        relations = not cls.without_relations
        annotations: dict[str, Any] = {}
        for field in fields:
            type_ = _by_identifier(hints[field.name], models, relations)
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            annotations[field.name] = NotRequired[type_] if optional else type_
        shape = TypedDict(cls.job_name(), annotations)  # type: ignore[misc] # made at run time
        shape.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined] # pydantic reads it there
        try:
            schema = TypeAdapter(shape).core_schema
            self._validator, self._serializer = _with_bytes(schema, cls.job_name(), hide=False)
            #: The same, with errors that do not quote values: for encrypted jobs, of the class or this instance.
            self._discreet, _ = _with_bytes(schema, cls.job_name(), hide=True)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
            raise JobDefinitionError(
                f"{cls.job_name()}: a field has a type that cannot travel as JSON: {error.message.splitlines()[0]}"
                " Mapped SQLAlchemy classes travel by identifier when Laraq(app, sessions=sessionmaker(...)) is given."
            ) from None

    def dump(self, job: Any) -> dict[str, Any]:
        """Validate what the instance holds and turn it into JSON-ready values."""
        if not self.names:
            return {}
        state = job.__dict__
        validator = self._discreet if job.encrypted else self._validator
        values = validator.validate_python({name: state[name] for name in self.names})
        dumped: dict[str, Any] = self._serializer.to_python(values, mode="json")
        return dumped

    def load(self, args: Sequence[Any], fields: Mapping[str, Any], discreet: bool = False) -> Any:
        """Positional values are the fields in their order; defaults come from the class."""
        if args:
            if len(args) > len(self.names):
                raise TypeError(f"{len(args)} values for {len(self.names)} fields ({', '.join(self.names)})")
            positional = dict(zip(self.names, args, strict=False))
            if twice := positional.keys() & fields.keys():
                raise TypeError(f"field {min(twice)!r} was given twice")
            fields = {**positional, **fields}
        if not fields and not self.names:
            return self._cls()
        validator = self._discreet if discreet else self._validator
        # As JSON, because only then base64 becomes bytes and a JSON object's keys become what the type says.
        return self._cls(**validator.validate_json(to_json(fields, bytes_mode="base64")))


#: Nodes of a core schema that may carry a configuration of their own, as nested models do.
_CONFIGURED = frozenset({"model", "model-fields", "dataclass", "dataclass-args", "typed-dict"})


def _with_bytes(schema: CoreSchema, title: str, *, hide: bool) -> tuple[SchemaValidator, SchemaSerializer]:
    """Validator and serializer by which bytes are base64 at every depth; pydantic asks each nested model anew."""
    settings = {"ser_json_bytes": "base64", "val_json_bytes": "base64", "hide_input_in_errors": hide}

    def configured(node: Any) -> Any:
        if isinstance(node, list):
            return [configured(part) for part in node]
        if not isinstance(node, dict):
            return node
        copy = {key: configured(part) for key, part in node.items()}
        return {**copy, "config": {**copy.get("config", {}), **settings}} if copy.get("type") in _CONFIGURED else copy

    config: Any = {"title": title, **settings}
    try:
        # Models keep compiled validators of their own, with their own settings.
        return (
            SchemaValidator(configured(schema), config, _use_prebuilt=False),
            SchemaSerializer(configured(schema), config, _use_prebuilt=False),
        )
    except TypeError:  # pydantic before 2.12 has none
        return SchemaValidator(configured(schema), config), SchemaSerializer(configured(schema), config)


def _by_identifier(type_: Any, models: Sequence[Models], relations: bool) -> Any:
    """The annotation with every mapped class in it replaced by one that travels as an identifier."""
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
        inner = _by_identifier(arguments[0], models, relations and not bare)
        return typing.Annotated[(inner, *type_.__metadata__)]
    if origin in _COLLECTIONS and isinstance(arguments[0], type) and arguments[-1] in (arguments[0], ...):
        for provider in models:
            if provider.handles(arguments[0]):
                mark = _Identifiers(provider, arguments[0], relations, _COLLECTIONS[origin])
                return typing.Annotated[type_, mark]
    inner_types = tuple(_by_identifier(argument, models, relations) for argument in arguments)
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
            serialization=core_schema.plain_serializer_function_ser_schema(self._identify),
        )

    def _identify(self, value: Any) -> Any:
        return self.models.identify(value, relations=self.relations)

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, self.type_):
            return value
        if info.mode != "json":
            raise ValueError(f"Input should be a {self.type_.__name__}")
        if not isinstance(value, Mapping):
            value = {"id": value}  # a stranger's message: the bare primary key
        [found] = self.models.fetch(self.type_, [value])
        if found is None:
            raise ModelNotFoundError(self.type_.__name__, value.get("id"))
        return found


@dataclasses.dataclass(frozen=True)
class _Identifiers:
    """The same for a collection: fetched in one go, in the order sent, without rows that are gone (as in Laravel)."""

    models: Models
    type_: type[Any]
    relations: bool
    collect: Callable[[Iterable[Any]], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._identify),
        )

    def _identify(self, values: Any) -> Any:
        return [self.models.identify(value, relations=self.relations) for value in values]

    def _validate(self, values: Any, info: ValidationInfo) -> Any:
        values = list(values) if isinstance(values, collections.abc.Iterable) else [values]
        if all(isinstance(value, self.type_) for value in values):
            return self.collect(values)
        if info.mode != "json":
            raise ValueError(f"Input should be a collection of {self.type_.__name__}")
        values = [value if isinstance(value, Mapping) else {"id": value} for value in values]
        return self.collect(found for found in self.models.fetch(self.type_, values) if found is not None)
