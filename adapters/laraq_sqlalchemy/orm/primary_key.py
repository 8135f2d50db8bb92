"""The primary key of a mapped row, as it is sent in JSON and as Python compares it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import Enum as EnumType
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeDecorator, TypeEngine

from laraq.errors import ModelNotIdentifiableError, PayloadError

#: A TypeDecorator may write differently per database. Keys are sent in its neutral form, so that a worker with a
#: different driver reads the same key.
_NEUTRAL = DefaultDialect()

#: Types that JSON does not have, as text. A datetime is also a date: look values up by their exact class.
_TO_TEXT: dict[type, Callable[[Any], str]] = {
    UUID: str,
    Decimal: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    bytes: lambda key: base64.b64encode(key).decode("ascii"),
}

_FROM_TEXT: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    UUID: UUID,
    Decimal: Decimal,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    bytes: lambda key: base64.b64decode(key, validate=True),
}


def to_json(mapper: Mapper[Any], identity: Sequence[Any]) -> Any:
    """One value, or a list for a composite key, in the order of `mapper.primary_key`.

    Raises ModelNotIdentifiableError for a value that JSON cannot represent; a TypeDecorator can convert it.
    """
    parts = [_dump(mapper, value, column.type) for value, column in zip(identity, mapper.primary_key, strict=True)]
    return parts[0] if len(parts) == 1 else parts


def from_json(mapper: Mapper[Any], key: Any) -> tuple[Any, ...]:
    """SQLAlchemy's identity tuple of the row; raises PayloadError if `key` cannot be one."""
    try:
        parts = [key] if len(mapper.primary_key) == 1 else _parts(key)
        identity = tuple(_load(part, column.type) for part, column in zip(parts, mapper.primary_key, strict=True))
        hash(identity)
    except Exception as error:  # a user's TypeDecorator may raise anything for an invalid value
        raise PayloadError(f"{key!r} cannot be a primary key of {mapper.class_.__qualname__}.") from error
    return identity


def _parts(key: Any) -> list[Any]:
    if not isinstance(key, list):  # "A7" has two parts as well, but not those of a key
        raise TypeError("a composite key is a list")
    return key


def _dump(mapper: Mapper[Any], value: Any, type_: TypeEngine[Any]) -> Any:
    decorators, innermost = _layers(type_)
    plain = value
    for decorator in decorators:
        if type(decorator).process_bind_param is not TypeDecorator.process_bind_param:
            plain = decorator.process_bind_param(plain, _NEUTRAL)
    if isinstance(plain, Enum):
        plain = plain.name if isinstance(innermost, EnumType) else plain.value
    if isinstance(plain, str | int | float):
        return plain
    write = _TO_TEXT.get(type(plain))
    if write is None:
        raise ModelNotIdentifiableError(
            mapper.class_.__qualname__,
            f"its primary key holds {type(value).__name__}, which JSON has no form for;"
            " give the column a TypeDecorator that makes it text",
        )
    return write(plain)


def _load(value: Any, type_: TypeEngine[Any]) -> Any:
    decorators, innermost = _layers(type_)
    plain = _read(value, innermost)
    for decorator in reversed(decorators):
        if type(decorator).process_result_value is not TypeDecorator.process_result_value:
            plain = decorator.process_result_value(plain, _NEUTRAL)
    return plain


def _layers(type_: TypeEngine[Any]) -> tuple[list[TypeDecorator[Any]], TypeEngine[Any]]:
    """The decorators, outermost first, and the type they decorate."""
    decorators: list[TypeDecorator[Any]] = []
    while isinstance(type_, TypeDecorator):
        decorators.append(type_)
        type_ = type_.impl_instance
    return decorators, type_


def _read(value: Any, type_: TypeEngine[Any]) -> Any:
    try:
        python_type = type_.python_type
    except NotImplementedError:  # a type without it accepts the value from JSON
        return value
    if isinstance(value, python_type):
        return value
    if not isinstance(value, str | int | float):
        raise TypeError(f"{value!r} is not {python_type.__name__}")
    if issubclass(python_type, Enum):
        return python_type[str(value)]
    return _FROM_TEXT[python_type](str(value))
