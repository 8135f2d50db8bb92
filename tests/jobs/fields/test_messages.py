"""Which messages fit a class, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from laraq.errors import PayloadError
from laraq.jobs.fields.codec import Codec
from laraq.messages.payload import Payload
from tests.jobs.fields.jobs import Ship


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
