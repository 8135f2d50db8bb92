from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from celery import Celery

from laraq import Job, Laraq, current_job
from laraq.errors import JobDefinitionError, NotInQueueError


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


class Ship(Job):
    order_id: int
    express: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

    def handle(self) -> Any:
        return self.order_id, self.express, self.notes


def define(**body: Any) -> type[Job]:
    """A job class with that body; `fields` are its annotations."""
    fields = body.pop("fields", {})
    return type("Defined", (Job,), {"__annotations__": fields, "handle": lambda self: None, **body})


# -- fields ---------------------------------------------------------------------------------------------------------


def test_annotated_names_are_the_constructor() -> None:
    assert (Ship(1).order_id, Ship(1).express, Ship(1, True).express) == (1, False, True)
    assert Ship(1, True) == Ship(order_id=1, express=True) == Ship(1, express=True)


def test_a_field_without_a_value_is_missed_at_once() -> None:
    with pytest.raises(TypeError, match="order_id"):
        Ship()  # type: ignore[call-arg] # that is the point


def test_an_unknown_field_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="colour"):
        Ship(1, colour="red")  # type: ignore[call-arg] # that is the point


def test_a_mutable_default_is_not_shared() -> None:
    first, second = Ship(1), Ship(2)
    first.notes.append("mine")
    assert second.notes == []


def test_post_init_is_the_constructor_hook() -> None:
    class Upper(Job):
        name: str

        def __post_init__(self) -> None:
            self.name = self.name.upper()

        def handle(self) -> str:
            return self.name

    assert Upper("a").name == "A"


def test_a_child_adds_its_fields_behind_those_of_its_parent() -> None:
    class Parcel(Ship):
        weight: float = 1.0

    assert Parcel(7, True, [], 2.5).dispatch_sync() == (7, True, [])
    assert Parcel(7, weight=2.5).weight == 2.5
    assert Parcel(7).job_name().endswith("Parcel")


def test_a_child_of_an_abstract_parent_inherits_fields_and_options() -> None:
    class OrderJob(Job):
        order_id: int

        queue = "orders"
        tries = 5

    class Cancel(OrderJob):
        tries = 2

        def handle(self) -> int:
            return self.order_id

    job = Cancel(3)
    assert (job.order_id, job.queue, job.tries) == (3, "orders", 2)


def test_options_and_methods_may_come_from_a_mixin() -> None:
    class Careful:
        tries = 9

        def backoff(self) -> list[int]:
            return [1, 2]

        def tags(self) -> list[str]:
            return ["careful"]

    class Mixed(Careful, Job):
        order_id: int

        def handle(self) -> None: ...

    job: Any = Mixed(1)
    assert (job.tries, job.backoff(), job.tags()) == (9, [1, 2], ["careful"])


def test_a_class_variable_is_no_field() -> None:
    class Limited(Job):
        limit: ClassVar[int] = 3
        order_id: int

        def handle(self) -> None: ...

    assert [each.name for each in dataclasses.fields(Limited)] == ["order_id"]


def test_an_annotated_option_is_still_an_option() -> None:
    class Typed(Job):
        order_id: int
        tries: int = 5
        queue: str = "orders"
        backoff: list[int] = [1, 2]

        def handle(self) -> None: ...

    job = Typed(1)
    assert (job.tries, job.queue, job.backoff) == (5, "orders", [1, 2])
    with pytest.raises(TypeError):
        Typed(1, tries=7)


def test_jobs_are_equal_by_their_fields() -> None:
    assert Ship(1) == Ship(1)
    assert Ship(1) != Ship(2)


def test_a_job_shows_its_fields() -> None:
    assert repr(Ship(1)) == "Ship(order_id=1, express=False, notes=[])"


@pytest.mark.parametrize("on_instance", [False, True])
def test_an_encrypted_job_does_not_show_its_fields(on_instance: bool) -> None:
    class Charge(Job):
        card: str

        encrypted = not on_instance

        def handle(self) -> None: ...

    job = Charge("4111")
    job.encrypted = True
    assert "4111" not in repr(job)
    assert "Charge" in repr(job)


# -- refused when the class is defined ------------------------------------------------------------------------------


def test_an_own_init_is_refused_with_what_to_use() -> None:
    with pytest.raises(JobDefinitionError, match=r"__init__.*__post_init__"):
        define(__init__=lambda self: None)


@pytest.mark.parametrize("name", ["tries", "queue", "connection", "timeout", "unique_id", "tags", "countdown"])
def test_a_field_named_like_an_option_is_refused(name: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"{name!r} has the name of an option.*rename"):
        define(fields={name: int})


@pytest.mark.parametrize(
    "name",
    ["dispatch", "handle", "release", "fail", "delete", "id", "attempts", "middleware", "failed", "on_queue", "delay",
     "batch"],
)  # fmt: skip
def test_a_field_named_like_a_verb_is_refused(name: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"{name!r} has the name of a verb.*rename"):
        define(fields={name: int})


@pytest.mark.parametrize("name", ["dispatch", "release", "id", "failed"])
def test_a_field_with_a_default_named_like_a_verb_is_refused(name: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"{name!r} has the name of a verb"):
        define(fields={name: int}, **{name: 5})


def test_a_private_field_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="'_secret' starts with an underscore"):
        define(fields={"_secret": int})


@pytest.mark.parametrize("name", ["tries", "max_exceptions", "timeout", "priority"])
@pytest.mark.parametrize("value", ["3", -1, True, [3]])
def test_an_option_that_is_no_amount_is_refused(name: str, value: Any) -> None:
    with pytest.raises(JobDefinitionError, match=f"{name} = "):
        define(**{name: value})


def test_unique_and_debounced_on_one_class_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="unique or debounced"):
        define(unique=True, debounce_for=5)


def test_a_mutable_default_is_refused_with_what_to_use() -> None:
    with pytest.raises(JobDefinitionError, match=r"notes.*default_factory"):
        define(fields={"notes": list}, notes=[])


def test_a_field_without_default_behind_one_with_default_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="order_id"):
        define(fields={"express": bool, "order_id": int}, express=False)


def test_a_refusal_names_the_class() -> None:
    with pytest.raises(JobDefinitionError, match=rf"{__name__}.*Defined"):
        define(fields={"tries": int}, __module__=__name__)


# -- configured, on the instance ------------------------------------------------------------------------------------

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("configured", "option", "value"),
    [
        pytest.param(Ship(1).on_queue("high"), "queue", "high", id="on_queue"),
        pytest.param(Ship(1).on_connection("redis"), "connection", "redis", id="on_connection"),
        pytest.param(Ship(1).with_delay(600), "countdown", 600, id="with_delay"),
        pytest.param(Ship(1).with_delay(timedelta(hours=1)), "countdown", timedelta(hours=1), id="with a timedelta"),
        pytest.param(Ship(1).with_delay(MOMENT), "countdown", MOMENT, id="with a moment"),
        pytest.param(Ship(1).with_delay(5).without_delay(), "countdown", 0, id="without_delay"),
        pytest.param(Ship(1).with_tags("a", "b"), "tags", ["a", "b"], id="with_tags"),
        pytest.param(Ship(1).with_priority(9), "priority", 9, id="with_priority"),
        pytest.param(Ship(1).expires_at(MOMENT), "expires", MOMENT, id="expires_at"),
    ],
)
def test_a_setter_sets_its_option_and_leaves_the_fields_alone(configured: Ship, option: str, value: Any) -> None:
    assert getattr(configured, option) == value
    assert configured == Ship(1)
    assert getattr(Ship(1), option) != value


def test_setters_can_be_chained_and_change_the_job_itself() -> None:
    job = Ship(1)
    assert (
        job.on_queue("high").on_connection("redis").with_delay(1).with_tags("a").after_commit().before_commit() is job
    )


# -- outside of a run -----------------------------------------------------------------------------------------------


def test_attempts_is_1_without_a_worker() -> None:
    assert Ship(1).attempts == 1


@pytest.mark.parametrize("verb", ["release", "fail", "delete"])
def test_a_verb_outside_of_a_run_is_refused_by_name(verb: str) -> None:
    with pytest.raises(NotInQueueError, match=rf"{verb}.*Ship"):
        getattr(Ship(1), verb)()


def test_there_is_no_id_outside_of_a_run() -> None:
    with pytest.raises(NotInQueueError, match=r"id.*Ship"):
        Ship(1).id


def test_there_is_no_current_job_outside_of_a_run() -> None:
    with pytest.raises(NotInQueueError):
        current_job()


def test_the_job_sent_stays_outside_of_the_run() -> None:
    job = Ship(1)
    job.dispatch_sync()
    with pytest.raises(NotInQueueError):
        job.release()


def test_the_current_job_is_the_one_that_runs() -> None:
    class Inner(Job):
        def handle(self) -> bool:
            return current_job() is self

    class Outer(Job):
        def handle(self) -> tuple[bool, bool]:
            return Inner.dispatch_sync(), current_job() is self

    assert Outer.dispatch_sync() == (True, True)
