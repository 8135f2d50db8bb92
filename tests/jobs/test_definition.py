"""What a class body may say, and what is refused in it, by class and reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import KW_ONLY, InitVar
from typing import Any, Final

import pytest
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from laraq import Job, Laraq, dispatch, job
from laraq.errors import JobDefinitionError
from laraq.jobs.fields.codec import Codec
from tests.jobs.fields.jobs import travelled


def made(fields: dict[str, Any], **body: Any) -> Any:
    members = {"__annotations__": fields, "__module__": __name__, "handle": lambda self: None, **body}
    return type("Made", (Job,), members)


def test_fields_may_be_called_as_anything_of_pydantics() -> None:
    names = ["type", "schema", "fields", "choices", "config", "serialization", "definitions", "ref", "cls", "metadata"]
    cls = made(dict.fromkeys(names, dict[str, int]))
    sent = cls(*({name: 1} for name in names))
    assert travelled(sent) == sent


def test_parameters_may_be_called_type() -> None:
    @job
    def tell(type: str, self: int = 1) -> Any: ...

    assert travelled(tell.job("x")) == tell.job("x")


class Ship(Job):
    order_id: int
    _: KW_ONLY
    express: bool = False
    notes: str

    def handle(self) -> None: ...


def test_fields_behind_kw_only_have_no_position() -> None:
    sent = Ship(1, notes="n")
    assert travelled(sent) == sent
    with pytest.raises(TypeError):
        Ship(1, True, notes="n")  # type: ignore[misc] # that is the point


def test_parameters_by_keyword_alone_stay_so() -> None:
    @job
    def ship(order_id: int, express: bool = False, *, notes: str) -> None: ...

    assert travelled(ship.job(1, notes="n")) == ship.job(1, notes="n")
    with pytest.raises(TypeError):
        ship.job(1, True, "n")  # type: ignore[call-arg] # that is the point


def test_a_parameter_with_a_default_that_is_called_as_an_option_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="'timeout' has the name of an option"):

        @job
        def wait(timeout: int = 30) -> None: ...


def test_a_final_field_is_one_of_its_type() -> None:
    cls = made({"n": Final[int]})
    assert travelled(cls(5)) == cls(5)
    with pytest.raises(JobDefinitionError, match=r"'n' is Final without a type: write Final\[int\]"):
        Codec().dump(made({"n": Final}, n=5)())


def test_a_job_that_is_a_pydantic_model_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match=r"test_definition.*Both is a pydantic model"):

        class Both(Job, BaseModel):  # type: ignore[misc] # that is the point
            n: int

    with pytest.raises(JobDefinitionError, match="Other is a pydantic model"):

        class Other(BaseModel, Job):  # type: ignore[misc] # that is the point
            n: int


def test_slots_for_a_field_are_refused() -> None:
    with pytest.raises(JobDefinitionError, match="'n' is listed in __slots__"):
        made({"n": int}, __slots__=("n",))
    with pytest.raises(JobDefinitionError, match=r"Slotted: @dataclass\(slots=True\)"):

        @dataclasses.dataclass(slots=True)
        class Slotted(Job):
            n: int


def test_a_frozen_dataclass_is_refused_when_it_is_used() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Job):
        n: int

        def handle(self) -> None: ...

    with pytest.raises(JobDefinitionError, match=r"Frozen is a frozen dataclass.*remove the decorator"):
        Frozen.dispatch(1)
    Empty = dataclasses.dataclass(frozen=True)(made({}))
    with pytest.raises(JobDefinitionError, match="frozen"):
        Codec().dump(Empty())


@pytest.mark.parametrize("decorator", [dataclasses.dataclass, pydantic_dataclass])
def test_a_dataclass_decorator_above_a_job_changes_nothing(decorator: Any) -> None:
    cls = decorator(made({"card": str}, encrypted=True))
    assert "4111" not in repr(cls("4111"))
    plain = decorator(made({"n": int}))
    assert travelled(plain(1)).n == 1


def test_an_init_var_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match=r"n is an InitVar.*cannot travel"):
        made({"n": InitVar[int]})


def test_a_field_of_pydantics_as_a_value_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match=r"'n' has pydantic's Field.*Annotated\[..., Field"):
        made({"n": int}, n=Field(gt=0))


def test_a_handle_that_yields_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="Yields is a generator"):

        class Yields(Job):
            def handle(self) -> Iterator[int]:
                yield 1

    with pytest.raises(JobDefinitionError, match="inner is a generator"):

        @job
        async def inner() -> AsyncIterator[int]:
            yield 1


def numbers() -> Iterator[int]:
    yield 1


def test_a_function_that_yields_is_refused() -> None:
    with Laraq() as _, pytest.raises(JobDefinitionError, match="numbers is a generator"):
        dispatch(numbers)


def test_messages_with_positions_for_all_fields_are_still_read() -> None:
    from laraq.messages.payload import Payload

    fields = json.loads("{}")
    assert Codec().load(Ship, Payload("1", Ship.job_name(), fields, (1, True, "n"))) == Ship(1, express=True, notes="n")
