"""What cannot travel is refused by the producer, by job and field."""

from __future__ import annotations

from typing import Any

import pytest

from laraq import Job
from laraq.errors import InvalidJobError, JobDefinitionError
from laraq.jobs.fields.codec import Codec
from tests.jobs.fields.jobs import Ship


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
