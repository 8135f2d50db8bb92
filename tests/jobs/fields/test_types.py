"""A field of every type arrives as it was sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from laraq import Job
from tests.jobs.fields.jobs import travelled


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Line:
    sku: str
    amount: Decimal
    raw: bytes = b""


class Blob(BaseModel):
    name: str
    content: bytes


class Envelope(BaseModel):
    blob: Blob
    at: datetime


def round_trip(annotation: Any, value: Any) -> Any:
    """The value after it travelled in a field of that type."""
    cls = type("Typed", (Job,), {"__annotations__": {"value": annotation}, "handle": lambda self: None})
    return travelled(cls(value)).value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        pytest.param(int, 2**80, id="big int"),
        pytest.param(float, 0.1, id="float"),
        pytest.param(float, float("inf"), id="infinity"),
        pytest.param(bool, True, id="bool"),
        pytest.param(str, "žluťoučký \U0001f40e\n\x00", id="str"),
        pytest.param(bytes, b"\x00\xff\xfe utf-8 it is not", id="bytes"),
        pytest.param(bytes, b"", id="no bytes"),
        pytest.param(list[bytes], [b"\xff", b"a"], id="list of bytes"),
        pytest.param(dict[str, bytes], {"a": b"\xff"}, id="dict of bytes"),
        pytest.param(bytes | None, b"\xff", id="optional bytes"),
        pytest.param(Line, Line("a", Decimal("1.10"), b"\xff"), id="dataclass"),
        pytest.param(list[Line], [Line("a", Decimal(1)), Line("b", Decimal(2))], id="list of dataclasses"),
        pytest.param(dict[str, Line], {"x": Line("a", Decimal(1))}, id="dict of dataclasses"),
        pytest.param(Blob, Blob(name="text", content=b"abc"), id="model with ASCII bytes"),
        pytest.param(Blob, Blob(name="photo", content=b"\x89PNG\xff\x00"), id="model with any bytes"),
        pytest.param(
            Envelope,
            Envelope(blob=Blob(name="p", content=b"\xff"), at=datetime(2026, 1, 2, tzinfo=UTC)),
            id="nested models with bytes",
        ),
        pytest.param(list[Blob], [Blob(name="p", content=b"\xff")], id="list of models with bytes"),
        pytest.param(Colour, Colour.BLUE, id="enum"),
        pytest.param(Level, Level.HIGH, id="int enum"),
        pytest.param(dict[Colour, int], {Colour.RED: 1}, id="enum keys"),
        pytest.param(Decimal, Decimal("10.123456789012345678901234567890"), id="Decimal"),
        pytest.param(uuid.UUID, uuid.UUID(int=7), id="UUID"),
        pytest.param(datetime, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), id="datetime"),
        pytest.param(datetime, datetime(2026, 1, 2, 3, 4, 5), id="naive datetime"),
        pytest.param(
            datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))), id="datetime elsewhere"
        ),
        pytest.param(date, date(2026, 1, 2), id="date"),
        pytest.param(time, time(1, 2, 3), id="time"),
        pytest.param(timedelta, timedelta(days=1, microseconds=3), id="timedelta"),
        pytest.param(Path, Path("/srv/a b"), id="path"),
        pytest.param(tuple[int, str], (1, "a"), id="tuple"),
        pytest.param(tuple[int, ...], (1, 2, 3), id="long tuple"),
        pytest.param(set[int], {3, 1, 2}, id="set"),
        pytest.param(frozenset[str], frozenset({"a"}), id="frozenset"),
        pytest.param(dict[int, str], {1: "a", -2: "b"}, id="dict with int keys"),
        pytest.param(dict[uuid.UUID, date], {uuid.UUID(int=1): date(2026, 1, 2)}, id="dict with UUID keys"),
        pytest.param(dict[int, list[tuple[int, bytes]]], {1: [(2, b"\xff")]}, id="deep"),
        pytest.param(int | None, None, id="optional without"),
        pytest.param(int | None, 5, id="optional with"),
        pytest.param(int | str, "5", id="a digit in int | str stays text"),
        pytest.param(int | str, 5, id="a number in int | str stays a number"),
        pytest.param(Literal["fast", "slow"], "slow", id="Literal"),
        pytest.param(Annotated[int, Field(gt=0)], 5, id="constrained"),
        pytest.param(Any, {"a": [1, None, "x"]}, id="Any"),
    ],
)
def test_a_field_arrives_as_it_was_sent(annotation: Any, value: Any) -> None:
    arrived = round_trip(annotation, value)
    assert arrived == value
    assert type(arrived) is type(value)


class Everything(Job):
    number: int
    text: str
    raw: bytes
    flags: dict[int, bool]
    lines: list[Line]
    colour: Colour | None = None
    where: tuple[float, float] = (0.0, 0.0)
    seen: set[str] = field(default_factory=set)

    def handle(self) -> None: ...


finite = st.floats(allow_nan=False)


@given(
    st.builds(
        Everything,
        number=st.integers(),
        text=st.text(),
        raw=st.binary(),
        flags=st.dictionaries(st.integers(), st.booleans(), max_size=3),
        lines=st.lists(
            st.builds(Line, st.text(), st.decimals(allow_nan=False, allow_infinity=False), st.binary()), max_size=3
        ),
        colour=st.none() | st.sampled_from(Colour),
        where=st.tuples(finite, finite),
        seen=st.sets(st.text(), max_size=3),
    )
)
def test_any_job_arrives_equal_to_the_one_sent(job: Everything) -> None:
    assert travelled(job) == job
