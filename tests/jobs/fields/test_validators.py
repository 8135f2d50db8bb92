"""pydantic's decorators in a Job, and code of the class, in both processes."""

from __future__ import annotations

from dataclasses import field
from datetime import date
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import pytest
from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from laraq import Job
from laraq.errors import InvalidJobError, JobDefinitionError, PayloadError
from laraq.jobs.fields.codec import Codec
from laraq.messages.payload import Payload
from tests.jobs.fields.jobs import travelled


class Charge(Job):
    cents: int
    currency: str = "EUR"
    due: date | None = None
    notes: list[str] = field(default_factory=list)

    most: ClassVar[int] = 100

    @field_validator("cents")
    @classmethod
    def not_too_much(cls, cents: int) -> int:
        if cents > cls.most:
            raise ValueError(f"more than {cls.most}")
        return cents

    @field_validator("currency", mode="before")
    @classmethod
    def in_capitals(cls, currency: str, info: ValidationInfo) -> str:
        assert "cents" in info.data
        return currency.upper()

    @model_validator(mode="before")
    @classmethod
    def is_given_a_mapping(cls, data: Any) -> Any:
        assert isinstance(data, dict)
        return data

    @model_validator(mode="after")
    def no_cents_of_crowns(self) -> Self:
        assert type(self).__name__ in ("Charge", "Large")
        if self.currency == "CZK" and self.cents % 100:
            raise ValueError("there are no hellers")
        return self

    @field_serializer("due")
    def as_text(self, due: date | None) -> str | None:
        return due and due.strftime("%Y-%m-%d")

    def handle(self) -> None: ...


class Large(Charge):
    most = 1000
    by: str = "card"


class Wrapped(Job):
    n: int

    @model_validator(mode="wrap")
    @classmethod
    def odd(cls, data: Any, handler: Any) -> Any:
        made = handler(data)
        assert made.n % 2, "even"
        return made

    def handle(self) -> None: ...


def received(cls: type[Job], **fields: Any) -> Any:
    return Codec().load(cls, Payload("1", cls.job_name(), fields))


def test_a_job_that_fits_arrives_equal() -> None:
    sent = Charge(100, "CZK", date(2026, 1, 2), ["a"])
    assert travelled(sent) == sent
    assert type(travelled(sent)) is Charge
    assert travelled(Wrapped(3)) == Wrapped(3)


def test_what_a_validator_makes_is_what_travels() -> None:
    assert travelled(Charge(1, "usd")).currency == "USD"


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (Charge(101), "cents[\\s\\S]*more than 100"),
        (Charge(99, "CZK"), "no hellers"),
        (Large(1001), "more than 1000"),
        (Wrapped(2), "even"),
    ],
)
def test_a_job_that_does_not_fit_is_refused_by_the_producer(job: Job, reason: str) -> None:
    with pytest.raises(InvalidJobError, match=reason):
        Codec().dump(job)


def test_a_message_that_does_not_fit_is_refused_by_the_worker() -> None:
    with pytest.raises(PayloadError, match="more than 100"):
        received(Charge, cents=101)
    with pytest.raises(PayloadError, match="colour"):
        received(Charge, cents=1, colour="red")
    assert received(Charge, cents=1) == Charge(1)


def test_a_child_inherits_the_validators_bound_to_itself() -> None:
    sent = Large(1000, "eur", by="cash")
    assert travelled(sent) == Large(1000, "EUR", by="cash")
    assert type(travelled(sent)) is Large


def test_a_validator_may_come_from_a_mixin() -> None:
    class Positive:
        @field_validator("n", check_fields=False)
        @classmethod
        def positive(cls, n: int) -> int:
            assert n > 0, "not positive"
            return n

    class Count(Positive, Job):
        n: int

        def handle(self) -> None: ...

    assert travelled(Count(1)) == Count(1)
    with pytest.raises(InvalidJobError, match="not positive"):
        Codec().dump(Count(0))


def test_a_validator_that_changes_its_own_result_is_refused() -> None:
    class Counted(Job):
        n: int

        @field_validator("n")
        @classmethod
        def next(cls, n: int) -> int:
            return n + 1

        def handle(self) -> None: ...

    with pytest.raises(InvalidJobError, match=r"'n'.*2 would arrive as 3.*both processes"):
        Codec().dump(Counted(1))


def test_a_post_init_that_changes_its_own_result_is_refused() -> None:
    class Titled(Job):
        name: str

        def __post_init__(self) -> None:
            self.name = f"Dr. {self.name}"

        def handle(self) -> None: ...

    with pytest.raises(InvalidJobError, match=r"would arrive as 'Dr. Dr. Eva'.*both processes"):
        Codec().dump(Titled("Eva"))


def test_a_validator_of_a_field_that_is_not_there_is_refused() -> None:
    class Misspelled(Job):
        cents: int

        @field_validator("cent")
        @classmethod
        def check(cls, cents: int) -> int:
            return cents

        def handle(self) -> None: ...

    with pytest.raises(JobDefinitionError, match=r"'cent'.*Did you mean 'cents'"):
        Codec().dump(Misspelled(1))


def test_the_alias_of_a_field_is_not_needed() -> None:
    class Waits(Job):
        seconds: Annotated[int, Field(alias="timeout", gt=0)]

        def handle(self) -> None: ...

    assert travelled(Waits(5)) == Waits(5)


T = TypeVar("T")
U = TypeVar("U")


class Handles(Job, Generic[T]):
    item: T
    others: list[T] = field(default_factory=list)


class HandlesOptional(Handles[list[U]], Generic[U]):
    first: U | None = None


class HandlesDates(HandlesOptional[date]):
    def handle(self) -> None: ...


def test_the_parameter_of_a_generic_base_is_filled_in() -> None:
    day = date(2026, 1, 2)
    sent = HandlesDates([day], [[day]], day)
    assert travelled(sent) == sent
    with pytest.raises(InvalidJobError, match="item"):
        Codec().dump(HandlesDates("x"))  # type: ignore[arg-type] # that is the point
