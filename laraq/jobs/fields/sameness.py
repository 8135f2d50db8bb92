"""Checks whether a value arrived as it was sent: equal at every depth, and of equal types. NaN equals NaN.

`==` alone would confuse True with 1, a model with its parent class, and 02:30 before with 02:30 after a clock change.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Set
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel

_short = reprlib.Repr()
_short.maxstring, _short.maxother = 60, 80

#: A subclass of these that adds no data equals its value: a datetime of a time library, text marked as safe.
_VALUES = (str, int, float, bytes, datetime, date, time, Decimal, UUID)

#: Attributes that `==` of a deque and a defaultdict ignores.
_UNSEEN = ("maxlen", "default_factory")


class Difference(NamedTuple):
    """The first place where two values differ: `.lines[0].sku`, and both values there."""

    path: str
    sent: Any
    arrived: Any

    def described(self, discreet: bool) -> str:
        """The difference in words; without the values when `discreet`."""
        types = type(self.sent).__name__, type(self.arrived).__name__
        if discreet:
            return f"a {types[0]} would arrive as {'another' if types[0] == types[1] else f'a {types[1]}'}"
        sent, arrived = _short.repr(self.sent), _short.repr(self.arrived)
        if sent == arrived or types[0] != types[1]:
            sent, arrived = f"{sent} ({types[0]})", f"{arrived} ({types[1]})"
        return f"{sent} would arrive as {arrived}"


def difference(sent: Any, arrived: Any, path: str = "") -> Difference | None:
    """The first difference, or None."""
    if sent is arrived:
        return None
    here = Difference(path, sent, arrived)
    if type(sent) is not type(arrived):
        return None if _is_value_of(sent, arrived) else here
    if isinstance(sent, BaseModel):
        return _of_pairs(_parts_of_model(sent), _parts_of_model(arrived), here)
    if dataclasses.is_dataclass(sent):
        return _of_pairs(_parts_of_dataclass(sent), _parts_of_dataclass(arrived), here)
    if isinstance(sent, Mapping):
        if len(sent) != len(arrived) or _unseen(sent) != _unseen(arrived):
            return here
        # In their order, which JSON keeps.
        keys = (difference(one, other, f"{path}.keys()") for one, other in zip(sent, arrived, strict=True))
        values = _of_pairs(((f"[{key!r}]", sent[key]) for key in sent), (("", arrived[key]) for key in arrived), here)
        return next(filter(None, keys), None) or values
    if isinstance(sent, (list, tuple, deque)):
        if len(sent) != len(arrived) or _unseen(sent) != _unseen(arrived):
            return here
        return _of_pairs(
            ((f"[{place}]", item) for place, item in enumerate(sent)), (("", item) for item in arrived), here
        )
    if isinstance(sent, Set):
        return None if len(sent) == len(arrived) and _same_members(sent, arrived) else here
    return None if _equal(sent, arrived) else here


def _of_pairs(
    sent: Iterable[tuple[str, Any]], arrived: Iterable[tuple[str, Any]], here: Difference
) -> Difference | None:
    for (name, one), (_, other) in zip(sent, arrived, strict=True):
        if found := difference(one, other, here.path + name):
            return found
    return None


def _parts_of_model(model: BaseModel) -> list[tuple[str, Any]]:
    held = {name: vars(model).get(name) for name in type(model).model_fields}
    parts = chain(held.items(), (model.__pydantic_extra__ or {}).items(), (model.__pydantic_private__ or {}).items())
    return [*((f".{name}", value) for name, value in parts), ("", len(model.__pydantic_extra__ or ()))]


def _parts_of_dataclass(instance: Any) -> list[tuple[str, Any]]:
    fields = dataclasses.fields(instance)
    return [(f".{field.name}", getattr(instance, field.name, None)) for field in fields if field.compare]


def _unseen(value: Any) -> list[Any]:
    return [getattr(value, name, None) for name in _UNSEEN]


def _is_value_of(sent: Any, arrived: Any) -> bool:
    """Whether an instance of a subclass of a plain type arrived as the plain value, with nothing lost."""
    if isinstance(sent, Enum) or not isinstance(arrived, _VALUES) or not isinstance(sent, type(arrived)):
        return False
    return not isinstance(sent, bool) and not getattr(sent, "__dict__", None) and _equal(sent, arrived)


def _same_members(sent: Collection[Any], arrived: Collection[Any]) -> bool:
    there = {member: member for member in arrived}
    alone = [member for member in sent if member not in there]
    if any(member == member for member in alone):  # only NaN is not itself
        return False
    return all(difference(member, there[member]) is None for member in sent if member in there)


def _equal(sent: Any, arrived: Any) -> bool:
    if isinstance(sent, Decimal):
        return str(sent) == str(arrived)  # 1.0 is not 1.00, and a signalling NaN cannot be compared
    if isinstance(sent, (datetime, time)):
        if (sent.tzinfo is None) != (arrived.tzinfo is None) or (sent.tzinfo is None and sent.fold != arrived.fold):
            return False
    elif sent != sent:
        return bool(arrived != arrived)
    elif vars(object)["__eq__"] is getattr(type(sent), "__eq__", None) and hasattr(sent, "__dict__"):
        return difference(vars(sent), vars(arrived)) is None
    return bool(sent == arrived)
