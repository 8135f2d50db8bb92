"""Values without a type to go by, `Any` and unannotated parameters: they travel as Celery's own JSON carries them.

What is not JSON is marked: `{"__type__": "datetime", "__value__": "2026-01-02T03:04:05"}`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

#: What a mark consists of; a dict of a user's with exactly these keys cannot travel.
MARK = frozenset(("__type__", "__value__"))

_SCALARS = frozenset((type(None), bool, int, float, str))


def mark(value: Any) -> dict[str, Any]:
    """The mark of a value that is not JSON. Raises TypeError for a type that has none."""
    if isinstance(value, bytes):
        try:
            return _marked("bytes", value.decode())
        except UnicodeDecodeError:
            return _marked("base64", base64.b64encode(value).decode())
    match value:
        case datetime():
            return _marked("datetime", value.isoformat())
        case date():
            return _marked("date", value.isoformat())
        case time():
            return _marked("time", value.isoformat())
        case Decimal():
            return _marked("decimal", str(value))
        case UUID():
            return _marked("uuid", {"hex": value.hex})
    raise TypeError(f"values of type {type(value).__name__} do not travel without an annotation")


def _marked(type_: str, value: Any) -> dict[str, Any]:
    return {"__type__": type_, "__value__": value}


_UNMARK: Mapping[Any, Callable[[Any], Any]] = {
    "bytes": str.encode,
    "base64": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda parts: UUID(**parts),
}


def unmark(marked: dict[str, Any]) -> Any:
    """What the mark stands for; any other dict is itself. Raises ValueError for an unknown mark."""
    if marked.keys() != MARK:
        return marked
    known = _UNMARK.get(marked["__type__"])
    if known is None:
        raise ValueError(f"unknown type {marked['__type__']!r}")
    return known(marked["__value__"])


def as_written(value: Any) -> Any:
    """The value."""
    return value


class AsWritten:
    """`Annotated[Any, AsWritten]`: JSON-ready already, fields of other jobs for instance, whose marks stay marks."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        return {"type": "any", "serialization": {"type": "function-plain", "function": as_written}}


class Untyped:
    """Dumps and loads such values. The host brings its marks, and with them types that users have registered there."""

    def __init__(self, mark: Callable[[Any], Any] = mark, unmark: Callable[[dict[str, Any]], Any] = unmark) -> None:
        self._mark = mark
        self.unmark = unmark

    def dump(self, value: Any) -> Any:
        """JSON-ready. Raises TypeError for what Celery's JSON does not carry."""
        if type(value) in _SCALARS:
            return value
        if isinstance(value, dict):
            if value.keys() == MARK:
                raise TypeError(
                    "Celery's JSON keeps dicts of the two keys __type__ and __value__ for itself: rename one"
                )
            return {self._key(key): self.dump(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.dump(item) for item in value]
        if isinstance(value, (str, int, float)):
            return value
        return self._written(self._mark(value))

    def load(self, value: Any) -> Any:
        """The inverse of `dump`, for values just read from JSON. Raises ValueError for an unknown mark."""
        if isinstance(value, list):
            return [self.load(item) for item in value]
        if isinstance(value, dict):
            loaded = {key: self.load(item) for key, item in value.items()}
            try:
                return self.unmark(loaded)
            except Exception as error:
                raise ValueError(f"{loaded!r} is not a value of Celery's JSON: {error}") from None
        return value

    def again(self, value: Any) -> Any:
        """JSON-ready what a carrier has read from JSON, and thereby unmarked; marks it left are left."""
        if type(value) in _SCALARS:
            return value
        if isinstance(value, Mapping):
            return {key: self.again(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.again(item) for item in value]
        try:
            return self._written(self._mark(value))
        except TypeError:
            return value  # in a header: not for us to judge

    def _written(self, marked: Any) -> Any:
        """A mark, with what it holds made JSON-ready; or what a type says that it wants to travel as."""
        if isinstance(marked, dict) and marked.keys() == MARK:
            return {"__type__": marked["__type__"], "__value__": self.dump(marked["__value__"])}
        return self.dump(marked)

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} of a dict is not text, and would arrive as text")
        return key
