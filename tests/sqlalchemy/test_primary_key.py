"""Primary keys of every column type survive the trip."""

from __future__ import annotations

import enum
import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    CHAR,
    VARBINARY,
    BigInteger,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    Enum,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Table,
    Time,
    Uuid,
    create_engine,
    inspect,
)
from sqlalchemy.orm import Mapper, Session, registry, sessionmaker
from sqlalchemy.types import TypeDecorator, TypeEngine

from laraq.errors import ModelNotIdentifiableError, PayloadError
from laraq_sqlalchemy.orm import primary_key
from laraq_sqlalchemy.orm.models import SqlAlchemyModels
from tests.sqlalchemy.podcasts import Podcast, Seat, Ticket


class Color(enum.Enum):
    RED = 1


class Size(enum.StrEnum):
    LARGE = "l"


class Slug:
    """A value class of an application."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slug) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class SlugType(TypeDecorator[Slug]):
    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Slug | None, dialect: Dialect) -> str | None:
        return None if value is None else value.text

    def process_result_value(self, value: Any, dialect: Dialect) -> Slug | None:
        return None if value is None else Slug(value)


class HexUuid(TypeDecorator[UUID]):
    """The UUID type many applications wrote before SQLAlchemy had one; it does not take text."""

    impl = CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> str | None:
        return None if value is None else value.hex

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        return None if value is None else UUID(value)


class Undecided(TypeDecorator[int]):
    """Changes nothing about its values."""

    impl = BigInteger
    cache_ok = True


class DecoratedTwice(TypeDecorator[Slug]):
    impl = SlugType
    cache_ok = True


A_UUID = UUID("2b0d7b3d-bc0e-4b6f-9a2e-0c7a4f4f7a11")
KEYS: dict[str, tuple[TypeEngine[Any], Any, Any]] = {
    "int": (BigInteger(), 2**60, 2**60),
    "str": (String(20), "é1", "é1"),
    "uuid": (Uuid(), A_UUID, str(A_UUID)),
    "uuid as text": (Uuid(as_uuid=False), str(A_UUID), str(A_UUID)),
    "uuid by a decorator": (HexUuid(), A_UUID, A_UUID.hex),
    "date": (Date(), date(2026, 2, 3), "2026-02-03"),
    "datetime": (DateTime(), datetime(2026, 2, 3, 4, 5, 6), "2026-02-03T04:05:06"),
    "aware datetime": (
        DateTime(timezone=True),
        datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
        "2026-02-03T04:05:06+02:00",
    ),
    "time": (Time(), time(4, 5, 6), "04:05:06"),
    "decimal": (Numeric(10, 2), Decimal("1.5"), "1.5"),
    "float": (Double(), 0.5, 0.5),
    "bytes": (LargeBinary().with_variant(VARBINARY(16), "mysql"), b"\x00\xff", "AP8="),
    "enum": (Enum(Color), Color.RED, "RED"),
    "enum in a text column": (String(5), Size.LARGE, "l"),
    "names": (Enum("red", "blue", name="names"), "red", "red"),
    "value class": (SlugType(), Slug("serial"), "serial"),
    "value class, decorated twice": (DecoratedTwice(), Slug("serial"), "serial"),
    "decorator that converts nothing": (Undecided(), 7, 7),
    "padded text": (CHAR(10), "abc", "abc"),
}


def model_with_key(type_: TypeEngine[Any]) -> tuple[Any, registry]:
    class Thing:
        pass

    mappers = registry()
    column: Column[Any] = Column("id", type_, primary_key=True, autoincrement=False)
    mappers.map_imperatively(Thing, Table("thing", mappers.metadata, column))
    return Thing, mappers


@pytest.mark.parametrize(("type_", "key", "travels_as"), KEYS.values(), ids=KEYS.keys())
def test_a_key_of_this_type_finds_its_row(sql_url: str, type_: TypeEngine[Any], key: Any, travels_as: Any) -> None:
    Thing, mappers = model_with_key(type_)
    engine = create_engine(sql_url)
    mappers.metadata.create_all(engine)
    models = SqlAlchemyModels(sessionmaker(engine))
    with Session(engine) as session:
        thing = Thing()
        thing.id = key
        session.add(thing)
        session.commit()
        identifier = models.identify(thing)

    assert identifier["id"] == travels_as
    [again] = models.fetch(Thing, [json.loads(json.dumps(identifier))])
    assert again is not None
    models.close()
    engine.dispose()


def test_a_composite_key_travels_as_a_list() -> None:
    mapper: Mapper[Any] = inspect(Seat)
    assert primary_key.to_json(mapper, ("A", 7)) == ["A", 7]
    assert primary_key.from_json(mapper, ["A", 7]) == ("A", 7)
    assert primary_key.from_json(mapper, ["A", "7"]) == ("A", 7)


def test_text_is_read_as_what_the_column_holds() -> None:
    assert primary_key.from_json(inspect(Podcast), "7") == (7,)
    assert primary_key.from_json(inspect(Ticket), A_UUID.hex) == (A_UUID,)


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (Podcast, None),
        (Podcast, "seven"),
        (Podcast, 7.5),
        (Podcast, [7]),
        (Podcast, {"id": 7}),
        (Ticket, "7"),
        (Ticket, 7),
        (Ticket, [str(A_UUID)]),
        (Seat, "A7"),
        (Seat, {"A": 1, "B": 2}),
        (Seat, ["A"]),
        (Seat, ["A", 7, 8]),
        (Seat, ["A", None]),
        (Seat, [7, 7]),
        (Seat, 7),
        (model_with_key(Enum(Color))[0], "GREEN"),
        (model_with_key(Date())[0], "yesterday"),
        (model_with_key(Numeric())[0], "much"),
        (model_with_key(LargeBinary())[0], "%%%"),
        (model_with_key(HexUuid())[0], "7"),
    ],
)
def test_what_cannot_be_a_key_is_refused(model: type, key: Any) -> None:
    with pytest.raises(PayloadError, match="cannot be a primary key"):
        primary_key.from_json(inspect(model), key)


@pytest.mark.parametrize("key", [timedelta(days=1), None, Slug("serial")])
def test_a_key_json_has_no_form_for_is_refused_with_a_way_out(key: Any) -> None:
    Thing, _ = model_with_key(Interval())
    with pytest.raises(ModelNotIdentifiableError, match="TypeDecorator"):
        primary_key.to_json(inspect(Thing), (key,))
