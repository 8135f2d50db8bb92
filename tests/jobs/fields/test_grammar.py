"""Whatever the type and the value: the job is refused by a LaraqError, or it arrives equal and of equal types."""

from __future__ import annotations

import enum
import json
import os
import typing
from collections.abc import Callable
from dataclasses import is_dataclass, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.utils import json as kombu_json
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, create_model
from typing_extensions import TypedDict

from laraq import Job
from laraq.errors import LaraqError
from laraq.jobs.fields.codec import Codec
from laraq.messages.payload import Payload

#: Each is a type of its own, and two values of it.
EXAMPLES = int(os.environ.get("LARAQ_TEST_TYPES", "120"))

#: A type and its values.
Typed = tuple[Any, st.SearchStrategy[Any]]


class Colour(enum.Enum):
    RED = "red"
    ONE = 1
    ALSO_ONE = "1"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    RED = "red"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(enum.Enum):
    A = (1, 2)


text = st.text(st.characters(codec=None, exclude_categories=()), max_size=5) | st.sampled_from(
    ["red", "1", "2026-01-02"]
)
moments = st.datetimes(timezones=st.none() | st.timezones())
times = st.times() | st.times(timezones=st.timezones())

SCALARS: list[Typed] = [
    (int, st.integers()),
    (float, st.floats()),
    (bool, st.booleans()),
    (str, text),
    (bytes, st.binary(max_size=5)),
    (type(None), st.none()),
    (Decimal, st.decimals().filter(lambda number: not number.is_snan())),
    (UUID, st.uuids()),
    (date, st.dates()),
    (datetime, moments),
    (time, times),
    (timedelta, st.timedeltas()),
    (Path, text.map(lambda name: Path(name.replace("\x00", "")))),
    (complex, st.complex_numbers()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Mode, st.sampled_from(Mode)),
    (Right, st.sampled_from([Right.READ, Right.READ | Right.WRITE])),
    (Pair, st.sampled_from(Pair)),
    (Literal["red", 1, None], st.sampled_from(["red", 1, None])),
    (Literal[Colour.RED], st.just(Colour.RED)),
    (Annotated[int, Field(gt=0)], st.integers(min_value=1)),
    (Annotated[str, StringConstraints(max_length=3, to_upper=True)], st.text(max_size=3).map(str.upper)),
]

anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(*(values for _, values in SCALARS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(text | st.integers() | st.sampled_from(["__type__", "__value__"]), inner, max_size=3),
        st.tuples(inner),
    ),
    max_leaves=5,
)
UNTYPED: Typed = (Any, anything)


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    def of(make: Callable[[Any], Any], values: Callable[[Any], Any]) -> st.SearchStrategy[Typed]:
        return inner.map(lambda typed: (make(typed[0]), values(typed[1])))

    def shaped(make: Callable[[Any, Any], Any]) -> st.SearchStrategy[Typed]:
        def built(first: Typed, second: Typed) -> Typed:
            cls = make(first[0], second[0])
            make_one = getattr(cls, "model_construct", cls)  # what a model refuses is not the question
            return cls, st.builds(lambda a, b: make_one(a=a, b=b), first[1], second[1])

        return st.builds(built, inner, inner)

    scalar = st.sampled_from(SCALARS)
    return st.one_of(
        of(lambda type_: list[type_], lambda values: st.lists(values, max_size=3)),
        of(lambda type_: tuple[type_, ...], lambda values: st.lists(values, max_size=3).map(tuple)),
        of(lambda type_: typing.Union[type_, None], lambda values: st.none() | values),  # noqa: UP007
        scalar.map(lambda typed: (set[typed[0]], st.sets(typed[1], max_size=3))),  # type: ignore[name-defined, misc]
        scalar.map(lambda typed: (frozenset[typed[0]], st.frozensets(typed[1], max_size=3))),  # type: ignore[name-defined, misc]
        st.builds(
            lambda key, value: (dict[key[0], value[0]], st.dictionaries(key[1], value[1], max_size=3)),  # type: ignore[name-defined, misc]
            scalar,
            inner,
        ),
        st.builds(lambda one, other: (typing.Union[one[0], other[0]], one[1] | other[1]), inner, inner),  # noqa: UP007
        shaped(lambda one, other: create_model("Model", a=(one, ...), b=(other, ...))),
        shaped(lambda one, other: make_dataclass("Data", [("a", one), ("b", other)])),
        shaped(lambda one, other: TypedDict("Keys", {"a": one, "b": other})),  # type: ignore[misc, operator]
        shaped(lambda one, other: NamedTuple("Places", [("a", one), ("b", other)])),  # type: ignore[misc]
    )


def kinds(members: Any) -> list[str]:
    return sorted(type(member).__name__ for member in members)


def same(one: Any, other: Any) -> bool:
    """Without a line of what is tested."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return (one == other and kinds(one) == kinds(other)) or sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, BaseModel) or is_dataclass(one):
        return same(vars(one), vars(other))
    return bool(one == other) or repr(one) == repr(other)  # as those of NaN are


types = st.recursive(st.sampled_from([*SCALARS, UNTYPED]), containers, max_leaves=4)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(types, st.data())
def test_it_arrives_as_it_was_or_is_refused(typed: Typed, data: st.DataObject) -> None:
    type_, values = typed
    cls: Any = type("Carries", (Job,), {"__annotations__": {"value": type_}, "handle": lambda self: None})
    codec = Codec()
    for _ in range(2):
        sent = cls(data.draw(values))
        try:
            fields = codec.dump(sent)
        except LaraqError:
            continue
        if not same(sent.value, TypeAdapter(type_).validate_python(sent.value)):
            continue  # pydantic converts it, in a union for instance
        for read in (kombu_json.loads(kombu_json.dumps(fields)), json.loads(json.dumps(fields))):
            arrived = codec.load(cls, Payload("1", cls.job_name(), read))
            assert same(sent.value, arrived.value), (sent.value, arrived.value)
