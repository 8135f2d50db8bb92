"""What is accepted arrives equal and of equal types; what would not is refused at the dispatch, with the field."""

from __future__ import annotations

import collections
import enum
import json
import re
import typing
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import typing_extensions
from cryptography.fernet import Fernet
from kombu.utils import json as kombu_json
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, Secret, SecretBytes, SecretStr, computed_field

from laraq import Job
from laraq.errors import InvalidJobError, JobDefinitionError
from laraq.jobs.fields.codec import Codec
from laraq.jobs.fields.sameness import difference
from laraq.messages.keys import Keys
from laraq.messages.payload import Payload

PRAGUE = ZoneInfo("Europe/Prague")
CODEC = Codec(Keys([Fernet.generate_key().decode()]))


class Colour(enum.Enum):
    RED = "red"


class Size(enum.Enum):
    SMALL = (1, 2)


class Mode(enum.StrEnum):
    FAST = "fast"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Animal(BaseModel):
    name: str = "Rex"


class Dog(Animal):
    tricks: int = 3


@dataclass
class Line:
    sku: str = "a"


@dataclass
class Priced(Line):
    price: int = 5


class Login(BaseModel):
    token: SecretStr
    born: Secret[date] | None = None


class Named(BaseModel):
    """Its attributes are called as the keys of pydantic's schemas are."""

    type: str
    fields: list[int]
    choices: dict[str, int] = {}


class Aliased(BaseModel):
    cents: int = Field(alias="amount")


class Hidden(BaseModel):
    cents: int = Field(exclude=True)


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cents: int

    @computed_field
    def euros(self) -> float:
        return self.cents / 100


class Private(BaseModel):
    _seen: int = PrivateAttr(default=0)


class Typed(typing_extensions.TypedDict):
    type: str


class Place(NamedTuple):
    raw: bytes
    at: datetime


class Tree(BaseModel):
    above: list[Tree] = []
    held: Any = None


def job(type_: Any, value: Any, **body: Any) -> Job:
    members = {"__annotations__": {"value": type_}, "__module__": __name__, "handle": lambda self: None, **body}
    return type("Carries", (Job,), members)(value)


def arrived(sent: Job) -> Any:
    """The value behind Celery's JSON, and behind JSON that knows no marks, as stores have it."""
    fields, name = CODEC.dump(sent), type(sent).job_name()
    through_celery = CODEC.load(type(sent), Payload("1", name, kombu_json.loads(kombu_json.dumps(fields))))
    through_a_store = CODEC.load(type(sent), Payload("1", name, json.loads(json.dumps(fields))))
    assert difference(through_celery.value, through_a_store.value) is None
    return through_celery.value


NAN = float("nan")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Colour | str, "red"),
        (str | bytes, "abc"),
        (float, NAN),
        (Any, NAN),
        (list, [NAN, float("inf")]),
        (dict, {"a": float("-inf")}),
        (set[float], {NAN, 1.0}),
        (re.Pattern, re.compile("a+")),
        (Right, Right.READ | Right.WRITE),
        (Literal["a", 1, None], 1),
        (Named, Named(type="x", fields=[1], choices={"type": 2})),
        (Typed, {"type": "x"}),
        (Aliased, Aliased(amount=7)),
        (Computed, Computed(cents=7)),
        (Private, Private()),
        (Place, Place(b"\xff", datetime(2026, 1, 2, tzinfo=UTC))),
        (Tree, Tree(above=[Tree(held=uuid.UUID(int=1))], held=[Decimal("1.10")])),
        (datetime, datetime(2026, 1, 2, tzinfo=PRAGUE)),
        (Any, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        (Any, [date(2026, 1, 2), time(1, 2), Decimal("1.10"), uuid.UUID(int=1), b"abc", b"\xff", None, 1.5, True]),
        (dict[str, Any], {"deep": [{"at": datetime(2026, 1, 2)}]}),
        (collections.OrderedDict[str, int], collections.OrderedDict(b=1, a=2)),
        (collections.defaultdict[str, list[int]], collections.defaultdict(list, a=[1])),
        (dict[int, Any], {1: b"\xff"}),
        (int | float, 5.0),
        (date | datetime, datetime(2026, 1, 2)),
    ],
    ids=lambda one: "set" if isinstance(one, set) else repr(one),
)
def test_it_arrives_equal_and_of_equal_types(type_: Any, value: Any) -> None:
    assert difference(value, arrived(job(type_, value))) is None


@pytest.mark.parametrize(
    ("type_", "value", "reason"),
    [
        (Colour | str, Colour.RED, "Colour.*would arrive as 'red'"),
        (str | bytes, b"abc", r"b'abc' \(bytes\) would arrive as 'YWJj'"),
        (bytes, "YWJj", r"valid bytes[\s\S]*text.encode\(\)"),
        (Animal, Dog(), "Dog.*would arrive as Animal.*Annotate it with Dog"),
        (list[Animal], [Animal(), Dog()], r"\[1\]: Dog"),
        (Line, Priced(), "Annotate it with Priced"),
        (dict, {None: 1}, r"None \(NoneType\) would arrive as 'None' \(str\).*annotate it"),
        (dict[str, Any], {"a": {1: 2}}, "the key 1 .*annotate it"),
        (Any, (1, 2), r"\(1, 2\) \(tuple\) would arrive as \[1, 2\] \(list\).*annotate it"),
        (Any, {1}, "values of type set do not travel without an annotation"),
        (Any, Mode.FAST, r"would arrive as 'fast' \(str\)"),
        (Any, Animal(), "type Animal do not travel without an annotation"),
        (Any, SecretStr("x"), "type SecretStr do not travel without an annotation"),
        (Any, {"__type__": "datetime", "__value__": "x"}, "for itself"),
        (dict[str, str], {"__type__": "decimal", "__value__": "1"}, "a worker could not"),
        (dict[str, int], {"__type__": 1, "__value__": 2}, "a worker could not"),
        (re.Pattern, re.compile("a", re.IGNORECASE), "IGNORECASE"),
        (str, "\udcff", "fsencode"),
        (Path, Path("\udcff"), "fsencode"),
        (Any, ["\udcff"], "fsencode"),
        (dict[str, int], {"\udcff": 1}, "fsencode"),
        (dict[tuple[int, int], str], {(1, 2): "a"}, "could not read it"),
        (Hidden, Hidden(cents=1), "Field required"),
        (Typed, {"type": "x", "more": 1}, "more"),
        (Line, Line(5), "valid string"),  # type: ignore[arg-type] # that is the point
        (Animal, Animal.model_construct(name=5), "valid string"),
        (Sequence[int], (1, 2), "tuple.*list"),
        (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PRAGUE), r"astimezone\(UTC\)"),
        (datetime, datetime(2026, 10, 25, 2, 30, fold=1), "fold=1"),
        (datetime, datetime(1880, 1, 1, tzinfo=PRAGUE), r"astimezone\(UTC\)"),
        (collections.deque[int], collections.deque([1], maxlen=3), "deque"),
    ],
    ids=repr,
)
def test_a_value_that_would_not_is_refused_by_job_and_field(type_: Any, value: Any, reason: str) -> None:
    with pytest.raises(InvalidJobError, match=reason) as caught:
        CODEC.dump(job(type_, value))
    assert f"{__name__}.Carries" in str(caught.value)


def test_a_private_attribute_that_was_changed_is_refused() -> None:
    private = Private()
    private._seen = 5
    with pytest.raises(InvalidJobError, match="_seen: 5 would arrive as 0"):
        CODEC.dump(job(Private, private))


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (Size, r"Size.SMALL: \(1, 2\).*text or whole numbers"),
        (list[Size], "Size.SMALL"),
        (Literal[Colour.RED], "Colour.RED.*name the type itself"),
        (Iterable[int], r"list\[\.\.\.\]"),
        (Callable[[], int], "code cannot be sent in a field"),
        (type[int], "a class cannot be sent"),
        (typing.get_type_hints(Typed)["type"] | memoryview, "memoryview"),
        (5, "of type 5"),
    ],
    ids=repr,
)
def test_a_type_that_never_arrives_is_refused_when_the_class_is_first_used(type_: Any, reason: str) -> None:
    with pytest.raises(JobDefinitionError, match=reason) as caught:
        CODEC.dump(job(type_, None))
    assert f"{__name__}.Carries: field 'value'" in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (SecretStr, SecretStr("4111")),
        (SecretBytes, SecretBytes(b"\xff4111")),
        (dict[str, SecretStr | None], {"a": SecretStr("4111"), "b": None}),
        (Login, Login(token=SecretStr("4111"), born=Secret(date(2026, 1, 2)))),
    ],
    ids=repr,
)
def test_secrets_travel_in_encrypted_jobs_alone_and_revealed(type_: Any, value: Any) -> None:
    assert difference(value, arrived(job(type_, value, encrypted=True))) is None
    one = job(type_, value)
    with pytest.raises(JobDefinitionError, match=r"field 'value'.*encrypted = True"):
        CODEC.dump(one)
    one.encrypted = True
    assert difference(value, arrived(one)) is None


def test_what_is_refused_of_an_encrypted_job_is_not_shown() -> None:
    with pytest.raises(InvalidJobError, match="a Priced would arrive as a Line") as caught:
        CODEC.dump(job(Line, Priced(sku="4111"), encrypted=True))
    assert "4111" not in str(caught.value)


def test_pydantic_converts_and_what_it_made_arrives() -> None:
    assert arrived(job(int, "7")) == 7
    assert arrived(job(Path, "a/b")) == Path("a/b")
    assert arrived(job(Animal, {"name": "Bo"})) == Animal(name="Bo")


class Moment(datetime):
    """A moment of a library; tests freeze time with such a class."""


def test_a_value_of_a_subclass_without_data_of_its_own_arrives_as_its_value() -> None:
    assert arrived(job(datetime, Moment(2026, 1, 2))) == datetime(2026, 1, 2)
    assert arrived(job(Any, Moment(2026, 1, 2))) == datetime(2026, 1, 2)


def test_a_check_without_a_dispatch_says_the_same() -> None:
    CODEC.check_round_trip(job(int, 7))
    CODEC.check_round_trip(job(timedelta, timedelta(days=1)))
    with pytest.raises(InvalidJobError, match="would arrive as"):
        CODEC.check_round_trip(job(Animal, Dog()))
    with pytest.raises(InvalidJobError, match="valid integer"):
        CODEC.check_round_trip(job(int, "seven"))
