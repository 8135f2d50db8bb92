from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from laraq import Job
from laraq.codec import Codec
from laraq.errors import (
    ConfigurationError,
    InvalidJobError,
    JobDefinitionError,
    ModelNotFoundError,
    PayloadError,
    TamperedPayloadError,
)
from laraq.keys import Keys
from laraq.payload import CIPHER, Payload
from laraq_sqlalchemy.models import SqlAlchemyModels

KEY = Fernet.generate_key().decode()
SECRET = "4111-1111-1111-1111"


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


def travelled(job: Job, codec: Codec | None = None) -> Any:
    """The job as a worker makes it from JSON."""
    codec = codec or Codec()
    fields = json.loads(json.dumps(codec.dump(job)))
    return codec.load(type(job), Payload("1", job.job_name(), fields))


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


class Ship(Job):
    order_id: int
    express: bool = False
    notes: list[str] = field(default_factory=list)

    def handle(self) -> None: ...


def ship(*args: Any, **fields: Any) -> Any:
    return Codec().load(Ship, Payload("1", Ship.job_name(), fields, args))


def test_fields_arrive_by_position_by_name_and_by_both() -> None:
    assert ship(1, True) == ship(order_id=1, express=True) == ship(1, express=True) == Ship(1, True)


def test_what_a_message_leaves_out_gets_the_default_of_the_class() -> None:
    first, second = ship(1), ship(1)
    assert first == Ship(1)
    first.notes.append("mine")
    assert second.notes == []


def test_values_of_a_strangers_message_are_made_what_the_type_says() -> None:
    assert ship("7", "yes") == Ship(7, True)


@pytest.mark.parametrize(
    ("args", "fields", "reason"),
    [
        pytest.param((), {}, "order_id", id="a field is missing"),
        pytest.param((), {"order_id": "seven"}, "order_id", id="a field has the wrong type"),
        pytest.param((), {"order_id": 1, "colour": "red"}, "colour", id="an unknown field"),
        pytest.param((1, True, [], 4), {}, "4 values for 3 fields", id="too many positions"),
        pytest.param((1,), {"order_id": 1}, "given twice", id="a field twice"),
    ],
)
def test_a_message_that_does_not_fit_the_class_is_refused_by_job_and_field(
    args: tuple[Any, ...], fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PayloadError, match=reason) as caught:
        ship(*args, **fields)
    assert Ship.job_name() in str(caught.value)


def test_fields_of_the_wrong_type_are_refused_by_the_producer_by_job_and_field() -> None:
    with pytest.raises(InvalidJobError, match="order_id") as caught:
        Codec().dump(Ship("seven"))  # type: ignore[arg-type] # that is the point
    assert caught.value.job == Ship.job_name()
    assert Ship.job_name() in str(caught.value)


def test_fields_changed_after_construction_are_validated_too() -> None:
    job = Ship(1)
    job.order_id = "seven"  # type: ignore[assignment] # that is the point
    with pytest.raises(InvalidJobError, match="order_id"):
        Codec().dump(job)


class Anything(Job):
    thing: Any

    def handle(self) -> None: ...


@pytest.mark.parametrize("thing", [object(), lambda: None, [object()]], ids=["object", "lambda", "inside a list"])
def test_a_value_that_is_no_json_is_refused_by_the_producer(thing: Any) -> None:
    with pytest.raises(InvalidJobError, match="thing"):
        Codec().dump(Anything(thing))


class NotJson:
    pass


def test_a_type_that_cannot_travel_is_refused_by_job_and_type() -> None:
    class Carries(Job):
        thing: NotJson

        def handle(self) -> None: ...

    with pytest.raises(JobDefinitionError, match="NotJson") as caught:
        Codec().dump(Carries(NotJson()))
    assert Carries.job_name() in str(caught.value)


def test_a_type_nobody_knows_is_refused_by_job_and_name() -> None:
    class Carries(Job):
        thing: Nowhere  # type: ignore[name-defined] # noqa: F821 - that is the point

        def handle(self) -> None: ...

    with pytest.raises(JobDefinitionError, match="Nowhere") as caught:
        Codec().dump(Carries(1))
    assert Carries.job_name() in str(caught.value)


# -- encryption -----------------------------------------------------------------------------------------------------


class Charge(Job):
    card: str
    amount: int = 1

    encrypted = True

    def handle(self) -> None: ...


def test_the_fields_of_an_encrypted_job_travel_as_one_token() -> None:
    fields = Codec(Keys([KEY])).dump(Charge(SECRET))
    assert list(fields) == [CIPHER]
    assert SECRET not in json.dumps(fields)
    assert "card" not in json.dumps(fields)


def test_an_encrypted_job_arrives_equal_to_the_one_sent() -> None:
    assert travelled(Charge(SECRET, 5), Codec(Keys([KEY]))) == Charge(SECRET, 5)


def test_one_instance_may_be_encrypted() -> None:
    job = Ship(1, notes=[SECRET])
    job.encrypted = True
    codec = Codec(Keys([KEY]))
    assert list(codec.dump(job)) == [CIPHER]
    assert travelled(job, codec).notes == [SECRET]


def test_an_encrypted_job_without_keys_is_refused_by_the_producer() -> None:
    with pytest.raises(ConfigurationError, match="laraq_keys"):
        Codec().dump(Charge(SECRET))


def test_a_job_encrypted_with_an_old_key_is_read_while_that_key_is_kept() -> None:
    old, new = KEY, Fernet.generate_key().decode()
    fields = Codec(Keys([old])).dump(Charge(SECRET))
    payload = Payload("1", Charge.job_name(), fields)
    assert Codec(Keys([new, old])).load(Charge, payload) == Charge(SECRET)
    with pytest.raises(TamperedPayloadError):
        Codec(Keys([new])).load(Charge, payload)


@pytest.mark.parametrize("token", ["", "changed", 5, None, ["x"]])
def test_a_token_that_is_none_is_refused(token: Any) -> None:
    with pytest.raises(PayloadError):
        Codec(Keys([KEY])).load(Charge, Payload("1", Charge.job_name(), {CIPHER: token}))


def test_a_worker_without_keys_refuses_the_message_of_an_encrypted_job() -> None:
    fields = Codec(Keys([KEY])).dump(Charge(SECRET))
    with pytest.raises(PayloadError, match="laraq_keys"):
        Codec().load(Charge, Payload("1", Charge.job_name(), fields))


def test_an_invalid_encrypted_job_does_not_show_its_values() -> None:
    with pytest.raises(InvalidJobError) as caught:
        Codec(Keys([KEY])).dump(Charge(card=SECRET, amount=SECRET))  # type: ignore[arg-type] # that is the point
    assert "amount" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_invalid_instance_that_was_made_encrypted_does_not_show_its_values() -> None:
    job = Ship(SECRET)  # type: ignore[arg-type] # that is the point
    job.encrypted = True
    with pytest.raises(InvalidJobError) as caught:
        Codec(Keys([KEY])).dump(job)
    assert SECRET not in str(caught.value)


def test_a_broken_message_of_an_encrypted_job_does_not_show_its_values() -> None:
    with pytest.raises(PayloadError) as caught:
        Codec(Keys([KEY])).load(Charge, Payload("1", Charge.job_name(), {"card": [SECRET], "amount": SECRET}))
    assert SECRET not in str(caught.value)


# -- mapped instances -----------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Podcast(Base):
    __tablename__ = "podcasts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Publish(Job):
    podcast: Podcast
    loud: bool = False

    def handle(self) -> None: ...


class PublishAll(Job):
    podcasts: list[Podcast]
    best: Podcast | None = None

    def handle(self) -> None: ...


@pytest.fixture
def sessions(sqlite_url: str) -> Iterator[sessionmaker[Session]]:
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine, expire_on_commit=False)
    with sessions.begin() as session:
        session.add_all(Podcast(id=id, title=title) for id, title in ((1, "one"), (2, "two"), (3, "three")))
    yield sessions
    engine.dispose()


@pytest.fixture
def models_codec(sessions: sessionmaker[Session]) -> Iterator[Codec]:
    models = SqlAlchemyModels(sessions)
    yield Codec(models=lambda: (models,))
    models.close()


def podcast(sessions: sessionmaker[Session], id: int) -> Podcast:
    with sessions() as session:
        return session.get_one(Podcast, id)


def test_a_row_travels_as_its_identifier_and_is_fetched_again(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    job = Publish(podcast(sessions, 1), True)
    fields = models_codec.dump(job)
    assert "one" not in json.dumps(fields)
    with sessions.begin() as session:
        session.get_one(Podcast, 1).title = "changed meanwhile"
    arrived = models_codec.load(Publish, Payload("1", Publish.job_name(), fields))
    assert (arrived.podcast.title, arrived.loud) == ("changed meanwhile", True)


def test_a_row_that_is_gone_is_told_by_model_and_identifier(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    fields = models_codec.dump(Publish(podcast(sessions, 2)))
    with sessions.begin() as session:
        session.delete(session.get_one(Podcast, 2))
    with pytest.raises(ModelNotFoundError, match=r"Podcast.*2"):
        models_codec.load(Publish, Payload("1", Publish.job_name(), fields))


def test_a_list_of_rows_keeps_its_order_and_drops_those_that_are_gone(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    rows = [podcast(sessions, id) for id in (3, 1, 2)]
    fields = models_codec.dump(PublishAll(rows, rows[0]))
    with sessions.begin() as session:
        session.delete(session.get_one(Podcast, 1))
    arrived = models_codec.load(PublishAll, Payload("1", PublishAll.job_name(), fields))
    assert [row.title for row in arrived.podcasts] == ["three", "two"]
    assert arrived.best.title == "three"


def test_an_optional_row_may_be_none(models_codec: Codec) -> None:
    assert travelled(PublishAll([]), models_codec).best is None


def test_a_mapped_class_without_sessions_is_refused_with_what_to_do() -> None:
    with pytest.raises(JobDefinitionError, match="sessions="):
        Codec().dump(Publish(Podcast(id=1, title="one")))
