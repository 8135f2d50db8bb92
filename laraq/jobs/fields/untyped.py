"""Values without a type, `Any` and unannotated parameters: they are sent as Celery's own JSON carries them.

Values that are not JSON are marked: `{"__type__": "datetime", "__value__": "2026-01-02T03:04:05"}`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

#: The keys of a mark; a user's dict with exactly these keys cannot be sent.
MARK = frozenset(("__type__", "__value__"))

_SCALARS = frozenset((type(None), bool, int, float, str))


def mark(value: Any) -> dict[str, Any]:
    """The mark of a value that is not JSON. Raises TypeError for a type without a mark."""
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
    """The value of a mark; any other dict is returned unchanged. Raises ValueError for an unknown mark."""
    if marked.keys() != MARK:
        return marked
    known = _UNMARK.get(marked["__type__"])
    if known is None:
        raise ValueError(f"unknown type {marked['__type__']!r}")
    return known(marked["__value__"])


def as_written(value: Any) -> Any:
    """Return the value unchanged."""
    return value


class AsWritten:
    """`Annotated[Any, AsWritten]`: values already JSON-ready, such as fields of other jobs; marks stay marks."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        return {"type": "any", "serialization": {"type": "function-plain", "function": as_written}}


class Untyped:
    """Dumps and loads untyped values. The host provides the marks, also those of types that users register there."""

    def __init__(self, mark: Callable[[Any], Any] = mark, unmark: Callable[[dict[str, Any]], Any] = unmark) -> None:
        self._mark = mark
        self.unmark = unmark

    def dump(self, value: Any) -> Any:
        """Convert to JSON-ready values. Raises TypeError for a type that Celery's JSON does not support."""
        if type(value) in _SCALARS:
            return value
        if isinstance(value, dict):
            if value.keys() == MARK:
                raise TypeError(
                    "Celery's JSON reserves dicts of the two keys __type__ and __value__ for itself: rename one"
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
        """Mark again what a carrier has unmarked when it read JSON; remaining marks stay as they are."""
        if type(value) in _SCALARS:
            return value
        if type(value) is dict or isinstance(value, Mapping):
            return {key: self.again(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.again(item) for item in value]
        try:
            return self._written(self._mark(value))
        except TypeError:
            return value  # in a header: not checked here

    def _written(self, marked: Any) -> Any:
        """A mark with JSON-ready content, or the JSON that a type defines for itself."""
        if isinstance(marked, dict) and marked.keys() == MARK:
            return {"__type__": marked["__type__"], "__value__": self.dump(marked["__value__"])}
        return self.dump(marked)

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} of a dict is not text, and would arrive as text")
        return key
