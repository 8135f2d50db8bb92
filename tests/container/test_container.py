from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest

from laraq.container import Container, Injected, Scope
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.shop import (
    Clock,
    Disk,
    Dsn,
    Mailer,
    Order,
    Outer,
    Primary,
    Repo,
    Service,
    Several,
    Smtp,
    Store,
    UnitOfWork,
    User,
)

SHOP = shop.__name__


def make_smtp() -> Smtp:
    return Smtp()


def yield_smtp() -> Iterator[Smtp]:
    yield Smtp()


@contextmanager
def open_smtp() -> Iterator[Smtp]:
    yield Smtp()


class SmtpFactory:
    def __call__(self) -> Smtp:
        return Smtp()


@pytest.mark.parametrize(
    "source",
    [Smtp(), Smtp, make_smtp, lambda: Smtp(), yield_smtp, open_smtp, SmtpFactory(), lambda: yield_smtp()],
    ids=["value", "class", "function", "lambda", "generator", "contextmanager", "callable", "lambda of a generator"],
)
def test_a_type_is_filled_from_whatever_is_bound_to_it(container: Container, scope: Scope, source: Any) -> None:
    container.bind(Mailer, source)

    assert isinstance(scope.get(Mailer), Smtp)


def test_an_instance_is_handed_out_as_it_is_even_when_it_could_be_called_or_entered(
    container: Container, scope: Scope
) -> None:
    unit, factory = UnitOfWork(), SmtpFactory()
    container.instance(UnitOfWork, unit)
    container.instance(SmtpFactory, factory)

    assert scope.get(UnitOfWork) is unit
    assert unit.entered == 0
    assert scope.get(SmtpFactory) is factory


def test_a_class_without_a_source_is_bound_to_itself(container: Container) -> None:
    container.singleton(Clock)

    with container.scope() as one, container.scope() as other:
        assert one.get(Clock) is other.get(Clock)


def test_an_abstract_class_without_a_source_is_refused(container: Container) -> None:
    with pytest.raises(InjectionError, match=f"Cannot make {SHOP}.Store: nothing is bound to it"):
        container.bind(Store)


def test_an_abstract_class_shares_the_instance_of_the_class_it_is_bound_to(container: Container, scope: Scope) -> None:
    container.bind(Store, Disk)
    disk = Disk()
    container.instance(Disk, disk)

    assert scope.get(Store) is disk


def test_binding_again_replaces_a_singleton_that_was_already_made(container: Container, scope: Scope) -> None:
    container.singleton(Clock)
    first = scope.get(Clock)
    container.singleton(Clock)

    assert scope.get(Clock) is not first


def test_binding_an_injected_type_binds_the_type(container: Container, scope: Scope) -> None:
    container.instance(Injected[Mailer], smtp := Smtp())

    assert scope.get(Mailer) is smtp


def test_none_can_be_bound(container: Container, scope: Scope) -> None:
    container.bind(Clock, lambda: None)

    def handle(clock: Clock) -> Any:
        return clock

    assert scope.call(handle) is None


@pytest.mark.parametrize("bind", [Container.bind, lambda container, key, source: None], ids=["bound", "autowired"])
def test_there_is_one_instance_per_scope(container: Container, bind: Callable[..., None]) -> None:
    bind(container, Clock, lambda: Clock())

    with container.scope() as one, container.scope() as other:
        assert one.get(Clock) is one.get(Clock)
        assert one.get(Clock) is not other.get(Clock)


def test_parts_of_different_things_are_the_same_within_a_scope(container: Container, scope: Scope) -> None:
    container.bind(Mailer, Smtp)
    container.bind(Outer)

    assert scope.get(Outer).service.clock is scope.get(Clock)


def test_the_objects_of_the_job_come_before_bindings(container: Container) -> None:
    logger = logging.getLogger("job")
    container.bind(logging.Logger, lambda: logging.getLogger("other"))

    with container.scope({logging.Logger: logger}) as scope:
        assert scope.get(logging.Logger) is logger


def test_given_arguments_come_before_everything(container: Container, scope: Scope) -> None:
    def handle(user_id: int, clock: Clock) -> tuple[int, Clock]:
        return user_id, clock

    mine = Clock()

    assert scope.call(handle, user_id=7, clock=mine) == (7, mine)


def test_factories_and_constructors_are_injected_too(container: Container, scope: Scope) -> None:
    def make_service(clock: Clock, *, mailer: Mailer) -> Service:
        return Service(clock, mailer, retries=9)

    container.bind(Mailer, Smtp)
    container.bind(Service, make_service)

    def handle(outer: Outer) -> Service:
        return outer.service

    service = scope.call(handle)
    assert service.retries == 9
    assert isinstance(service.mailer, Smtp)


def test_defaults_of_a_constructor_are_kept(container: Container, scope: Scope) -> None:
    container.bind(Mailer, Smtp)

    assert scope.get(Service).retries == 3


@pytest.mark.parametrize("name", [name for name in vars(Several) if name.startswith("with_")])
def test_what_is_bound_fills_every_kind_of_parameter(container: Container, scope: Scope, name: str) -> None:
    container.instance(Clock, clock := Clock())

    assert scope.call(getattr(Several(), name)) is clock


@pytest.mark.parametrize(
    ("name", "filled_with"),
    [
        ("with_default", "None"),
        ("with_marked_none", "None"),
        ("with_value", "its default"),
        ("with_optional", "a new one"),
        ("with_marker", "a new one"),
        ("with_positional", "a new one"),
    ],
)
def test_an_unbound_parameter_has_its_default_or_else_a_new_instance(scope: Scope, name: str, filled_with: str) -> None:
    clock = scope.call(getattr(Several(), name))

    default = Several.with_value.__defaults__[0]  # type: ignore[index]
    found = "None" if clock is None else "its default" if clock is default else "a new one"
    assert found == filled_with


def test_annotated_types_are_bound_apart_from_the_plain_one(container: Container, scope: Scope) -> None:
    container.instance(Clock, plain := Clock())
    container.instance(Primary, primary := Clock())

    def handle(one: Clock, two: Primary, three: Injected[Primary], four: Annotated[Clock, "a comment"]) -> list[Clock]:
        return [one, two, three, four]

    assert scope.call(handle) == [plain, primary, primary, plain]


def test_new_types_are_bound_by_name(container: Container, scope: Scope) -> None:
    container.instance(Dsn, Dsn("postgresql://"))

    def handle(dsn: Dsn) -> str:
        return dsn

    assert scope.call(handle) == "postgresql://"


def test_generic_types_are_bound_and_kept_by_their_arguments(container: Container, scope: Scope) -> None:
    container.bind(Repo[User], lambda: users)
    users: Repo[User] = Repo(Clock())

    def handle(one: Repo[User], two: Repo[Order], three: Repo[Order]) -> list[Repo[Any]]:
        return [one, two, three]

    one, two, three = scope.call(handle)
    assert one is users
    assert two is three is not users
    assert isinstance(two.clock, Clock)


def test_a_bare_generic_type_serves_all_its_arguments(container: Container, scope: Scope) -> None:
    container.bind(Repo, lambda: repo)
    repo: Repo[Any] = Repo(Clock())

    def handle(one: Repo[User], two: Repo[Order]) -> list[Repo[Any]]:
        return [one, two]

    assert scope.call(handle) == [repo, repo]


@pytest.mark.parametrize(
    ("function", "given", "needs"),
    [
        (lambda: None, {}, False),
        (Several().with_optional, {}, True),
        (Several().with_default, {}, True),
        (Several().with_optional, {"clock": None}, False),
    ],
)
def test_injection_is_needed_for_parameters_that_are_not_given(
    container: Container, function: Callable[..., Any], given: dict[str, Any], needs: bool
) -> None:
    assert container.needs_injection(function, given) is needs
