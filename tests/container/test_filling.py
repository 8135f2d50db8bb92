from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import pytest

from laraq.container import Container, Injected, Scope, injected
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.event_loop import run_job
from tests.container.shop import (
    AsyncClient,
    Clock,
    Disk,
    Dsn,
    Mailer,
    Order,
    Outer,
    Primary,
    Repo,
    Service,
    Smtp,
    Store,
    UnitOfWork,
    User,
)

SHOP = shop.__name__


def make() -> Smtp:
    return Smtp()


def generate() -> Iterator[Smtp]:
    yield Smtp()


@contextmanager
def opened() -> Iterator[Smtp]:
    yield Smtp()


class Factory:
    def __call__(self) -> Smtp:
        return Smtp()


async def make_async() -> Smtp:
    return Smtp()


async def generate_async() -> AsyncIterator[Smtp]:
    yield Smtp()


@asynccontextmanager
async def opened_async() -> AsyncIterator[Smtp]:
    yield Smtp()


async def make_opened() -> Any:
    return opened()


async def make_opened_async() -> Any:
    return opened_async()


SYNC = [Smtp(), Smtp, make, lambda: Smtp(), generate, opened, Factory(), lambda: generate()]
ASYNC = [make_async, generate_async, opened_async, make_opened, make_opened_async, lambda: make_async()]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("source", [*SYNC, *ASYNC], ids=lambda each: getattr(each, "__name__", type(each).__name__))
def test_a_type_is_filled_from_whatever_is_bound_to_it(container: Container, kind: str, source: Any) -> None:
    container.bind(Mailer, source)

    def handle(mailer: Mailer) -> Mailer:
        return mailer

    if kind == "sync" and source in ASYNC:
        with pytest.raises(
            InjectionError, match=rf"^Cannot make {SHOP}.Mailer for a sync job: {__name__}\.\S+ is async."
        ):
            run_job(kind, container, handle)
    else:
        assert isinstance(run_job(kind, container, handle), Smtp)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("source", "enter", "entered"),
    [(lambda: UnitOfWork(), True, True), (lambda: UnitOfWork(), False, False), (UnitOfWork, True, False)],
    ids=["of a factory", "of a factory, as it is", "of a class"],
)
def test_a_context_manager_that_a_factory_returns_is_entered_as_the_job_is(
    container: Container, kind: str, source: Any, enter: bool, entered: bool
) -> None:
    container.bind(UnitOfWork, source, enter=enter)

    def handle(unit: UnitOfWork) -> str:
        return unit.how

    assert run_job(kind, container, handle) == (kind if entered else "")


def test_a_sync_job_is_refused_an_async_context_manager(container: Container, scope: Scope) -> None:
    container.bind(AsyncClient, lambda: AsyncClient())

    with pytest.raises(InjectionError, match="for a sync job"):
        scope.get(AsyncClient)


def test_an_instance_is_handed_out_as_it_is(container: Container, scope: Scope) -> None:
    container.instance(UnitOfWork, unit := UnitOfWork())
    container.instance(Factory, factory := Factory())

    assert scope.get(UnitOfWork) is unit
    assert unit.how == ""
    assert scope.get(Factory) is factory


def test_an_abstract_class_shares_the_instance_of_the_class_it_is_bound_to(container: Container, scope: Scope) -> None:
    container.bind(Store, Disk)
    container.instance(Disk, disk := Disk())

    assert scope.get(Store) is disk


def test_an_abstract_class_without_a_source_is_refused(container: Container) -> None:
    with pytest.raises(InjectionError, match=f"Cannot make {SHOP}.Store: nothing is bound to it"):
        container.bind(Store)


@pytest.mark.parametrize("bind", [Container.bind, Container.singleton, lambda container, key, source: None])
def test_binding_again_replaces_what_was_made(container: Container, scope: Scope, bind: Callable[..., None]) -> None:
    bind(container, Clock, lambda: Clock())
    assert scope.get(Clock) is (first := scope.get(Clock))
    container.bind(Clock, lambda: Clock())

    assert scope.get(Clock) is not first


@pytest.mark.parametrize("bind", [Container.bind, lambda container, key, source: None], ids=["bound", "autowired"])
def test_there_is_one_instance_per_job(container: Container, bind: Callable[..., None]) -> None:
    container.bind(Mailer, Smtp)
    bind(container, Clock, lambda: Clock())

    with container.scope() as one, container.scope() as other:
        assert one.get(Clock) is one.get(Clock) is one.get(Outer).service.clock
        assert one.get(Clock) is not other.get(Clock)


def test_what_is_given_comes_before_what_is_the_jobs_and_that_before_bindings(container: Container) -> None:
    container.bind(logging.Logger, lambda: logging.getLogger("bound"))
    container.bind(Clock)

    def handle(user_id: int, clock: Clock, logger: logging.Logger) -> tuple[int, Clock, str]:
        return user_id, clock, logger.name

    with container.scope({logging.Logger: logging.getLogger("job"), int: 1}) as scope:
        assert scope.call(handle, user_id=7, clock=(mine := Clock())) == (7, mine, "job")


def test_factories_and_constructors_are_injected_too(container: Container, scope: Scope) -> None:
    def make_service(clock: Clock, *, mailer: Mailer) -> Service:
        return Service(clock, mailer, retries=9)

    container.bind(Mailer, Smtp)
    assert container.scope().__enter__().get(Service).retries == 3, "the default of the constructor"
    container.bind(Service, make_service)

    service = scope.get(Outer).service
    assert service.retries == 9
    assert isinstance(service.mailer, Smtp)


class Several:
    """One method for each kind of parameter."""

    def default(self, clock: Clock | None = None) -> Any:
        return clock

    def value(self, clock: Clock = Clock()) -> Any:  # noqa: B008 - the default is what a test looks for
        return clock

    def optional(self, clock: Clock | None) -> Any:
        return clock

    def marker(self, clock: Injected[Clock] = injected()) -> Any:  # noqa: B008 - it is a marker, not a value
        return clock

    def marked_none(self, clock: Injected[Clock | None] = None) -> Any:
        return clock

    def positional(self, clock: Clock, /, other: Clock) -> Any:
        return clock if clock is other else None

    def rest(self, *args: Any, clock: Clock, **kwargs: Any) -> Any:
        return clock if (args, kwargs) == ((), {}) else None

    @staticmethod
    def static(clock: Clock) -> Any:
        return clock

    @classmethod
    def of_class(cls, clock: Clock) -> Any:
        return clock


@pytest.mark.parametrize(
    ("name", "unbound"),
    [
        ("default", None),
        ("value", Several.value.__defaults__[0]),  # type: ignore[index]
        ("marked_none", None),
        *((name, Clock) for name in ("optional", "marker", "positional", "rest", "static", "of_class")),
    ],
)
def test_every_kind_of_parameter_has_what_is_bound_or_its_default_or_else_a_new_instance(
    container: Container, scope: Scope, name: str, unbound: Any
) -> None:
    function = getattr(Several(), name)
    found = scope.call(function)
    assert type(found) is Clock if unbound is Clock else found is unbound

    container.instance(Clock, clock := Clock())
    assert scope.call(function) is clock


def test_none_can_be_bound(container: Container, scope: Scope) -> None:
    container.bind(Clock, lambda: None)

    assert scope.call(Several().optional) is None


def test_types_are_bound_by_their_annotation_their_name_and_their_arguments(container: Container, scope: Scope) -> None:
    container.instance(Injected[Clock], plain := Clock())
    container.instance(Primary, primary := Clock())
    container.instance(Dsn, Dsn("postgresql://"))
    container.instance(Repo[User], users := Repo[User](plain))

    def handle(
        one: Clock, two: Primary, three: Injected[Primary], four: Annotated[Clock, "a comment"],
        dsn: Dsn, of_users: Repo[User], of_orders: Repo[Order], same: Repo[Order],
    ) -> list[Any]:  # fmt: skip
        assert of_orders is same
        return [one, two, three, four, dsn, of_users, of_orders.clock]

    assert scope.call(handle) == [plain, primary, primary, plain, "postgresql://", users, plain]


def test_a_bare_generic_type_serves_all_its_arguments(container: Container, scope: Scope) -> None:
    container.instance(Repo, repo := Repo[Any](Clock()))

    assert scope.get(Repo[User]) is scope.get(Repo[Order]) is repo


@pytest.mark.parametrize(
    ("function", "given", "needs"),
    [(lambda: None, (), False), (Several().default, (), True), (Several().optional, ("clock",), False)],
)
def test_injection_is_needed_for_parameters_that_are_not_given(
    container: Container, function: Callable[..., Any], given: tuple[str, ...], needs: bool
) -> None:
    assert container.needs_injection(function, given) is needs


def test_no_library_is_imported_before_the_first_job_that_needs_one() -> None:
    script = """
        import sys
        from laraq.container import Container, SvcsResolver
        class Clock: ...
        container = Container()
        container.singleton(Clock)
        container.use(SvcsResolver(None))
        print({"svcs", "dishka", "attr"} & set(sys.modules))
        container.scope({Clock: 1}).__enter__().get(Clock)
        print({"svcs", "dishka"} & set(sys.modules))
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout == "set()\n{'svcs'}\n"
