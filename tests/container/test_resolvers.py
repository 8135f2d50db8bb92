from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import dishka
import pytest
import svcs
from dishka import FromDishka, Provider, make_async_container, make_container
from dishka.exceptions import NoFactoryError

from laraq.container import AsyncDishkaResolver, Container, DishkaResolver, SvcsResolver
from laraq.errors import ConfigurationError, InjectionError
from tests.container.event_loop import run_job
from tests.container.shop import Clock, Job, Mailer, Order, Outer, Recorder, User

REQUEST = dishka.Scope.REQUEST


class Known:
    """The smallest resolver: it knows some types, and writes down when it is opened and left."""

    def __init__(self, *known: type, log: list[str] | None = None) -> None:
        self.made: dict[Any, Any] = {key: object() for key in known}
        self.log = [] if log is None else log

    @contextmanager
    def open(self, extras: Mapping[Any, Any]) -> Iterator[dict[Any, Any]]:
        self.log.append("opened")
        try:
            yield self.made
        except BaseException as error:
            self.log.append(f"left with {type(error).__name__}")
            raise

    def ask(self, entered: dict[Any, Any], key: Any, default: Any, as_async: bool) -> Any:
        return entered.get(key, default)


def test_resolvers_come_after_bindings_in_the_order_of_their_plugging_and_before_autowiring(
    container: Container,
) -> None:
    first, second = Known(Job, Clock, User), Known(Clock, Mailer)
    container.use(first)
    container.use(second)
    container.instance(User, user := User())

    with container.scope({Job: (job := Job())}) as scope:
        assert scope.get(Job) is job
        assert scope.get(User) is user
        assert scope.get(Clock) is first.made[Clock]
        assert scope.get(Outer).service.mailer is second.made[Mailer]
        assert type(scope.get(Order)) is Order


def test_a_resolver_is_asked_before_a_default_is_taken(container: Container) -> None:
    container.use(resolver := Known(Clock))

    def handle(clock: Clock | None = None) -> Any:
        return clock

    assert run_job("sync", container, handle) is resolver.made[Clock]


def test_a_resolver_is_opened_once_when_asked_and_left_with_the_exception_of_the_job_after_what_is_made_of_it(
    container: Container, recorder: Recorder
) -> None:
    container.use(Known(Clock, log=recorder.log))
    with container.scope():
        pass
    assert recorder.log == []

    def of_clock(clock: Clock) -> Iterator[str]:
        with recorder.opened("User") as value:
            yield value

    container.bind(User, of_clock)

    def handle(user: User, clock: Clock) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        run_job("sync", container, handle)

    assert recorder.log == ["opened", "+User", "!User ValueError", "-User", "left with ValueError"]


def test_a_singleton_is_not_made_of_what_a_resolver_has(container: Container) -> None:
    container.use(Known(Mailer))
    container.singleton(Outer)

    with container.scope() as scope, pytest.raises(InjectionError, match="nothing is bound to"):
        scope.get(Outer)


def test_the_container_of_another_library_has_to_be_wrapped(container: Container) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Expected a Resolver, got svcs\S*\.Registry: wrap it, .*SvcsResolver"
    ):
        container.use(svcs.Registry())  # type: ignore[arg-type]


# -- each of the libraries --------------------------------------------------------------------------------------------


class Session:
    pass


class OfSession:
    def __init__(self, session: Session) -> None:
        self.session = session


def with_svcs(container: Container, log: list[str]) -> Callable[[], Any]:
    def session() -> Iterator[Session]:
        try:
            yield Session()
        except ValueError as error:
            log.append(f"left with {error!r}")
            raise

    registry = svcs.Registry()
    registry.register_factory(Session, session, suppress_context_exit=False)
    registry.register_factory(OfSession, lambda svcs_container: OfSession(svcs_container.get(Session)))
    registry.register_factory(User, lambda svcs_container: svcs_container.get(Job))
    registry.register_factory(Mailer, lambda svcs_container: svcs_container.get(Order))
    container.use(SvcsResolver(registry))
    return registry.close


class Providers(Provider):
    """Providers in the scope of a job; the subclasses say how a session is made."""

    scope = REQUEST
    of_session = dishka.provide(OfSession)
    job = dishka.from_context(Job, scope=REQUEST)

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    @dishka.provide
    def user(self, job: Job) -> User:
        return job  # type: ignore[return-value]

    @dishka.provide
    def mailer(self, order: Order) -> Mailer:
        raise AssertionError(order)


class SyncProviders(Providers):
    @dishka.provide
    def session(self) -> Iterator[Session]:
        error = yield Session()
        self.log.append(f"left with {error!r}")


class AsyncProviders(Providers):
    @dishka.provide
    async def session(self) -> AsyncIterator[Session]:
        error = yield Session()
        self.log.append(f"left with {error!r}")


def with_dishka(container: Container, log: list[str]) -> Callable[[], Any]:
    clocks = Provider(scope=dishka.Scope.APP, component="clocks")
    clocks.provide(Clock)
    made = make_container(SyncProviders(log), clocks, skip_validation=True)
    container.use(DishkaResolver(made))
    return made.close


def with_async_dishka(container: Container, log: list[str]) -> Callable[[], Any]:
    container.use(AsyncDishkaResolver(make_async_container(AsyncProviders(log), skip_validation=True)))
    return lambda: None


@pytest.fixture(
    params=[(with_svcs, "sync"), (with_svcs, "async"), (with_dishka, "sync"), (with_dishka, "async"),
            (with_async_dishka, "async")],
    ids=lambda each: f"{each[0].__name__} {each[1]}",
)  # fmt: skip
def kind(request: pytest.FixtureRequest, container: Container, recorder: Recorder) -> Iterator[str]:
    """Of job, where one of the libraries is plugged in."""
    plug, kind = request.param
    close = plug(container, recorder.log)
    yield kind
    close()


def test_another_library_fills_parameters_once_per_job(container: Container, kind: str) -> None:
    def handle(one: OfSession, session: Session, order: Order) -> OfSession:
        assert one.session is session
        assert type(order) is Order, "what it does not know is autowired"
        return one

    assert run_job(kind, container, handle) is not run_job(kind, container, handle)


def test_factories_of_another_library_are_left_with_the_exception_of_the_job(
    container: Container, recorder: Recorder, kind: str
) -> None:
    def handle(session: Session) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"):
        run_job(kind, container, handle)

    assert recorder.log == ["left with ValueError('job')"]


def test_factories_of_another_library_may_ask_for_the_job(container: Container, kind: str) -> None:
    def handle(user: User, job: Job) -> bool:
        found: object = user
        return found is job

    assert run_job(kind, container, handle, {Job: Job()})


def test_what_lacks_a_part_raises_the_error_of_its_library(container: Container, kind: str) -> None:
    def handle(mailer: Mailer) -> None: ...

    with pytest.raises((svcs.exceptions.ServiceNotFoundError, NoFactoryError), match="Order"):
        run_job(kind, container, handle)


def test_svcs_serves_async_services(container: Container, recorder: Recorder) -> None:
    with svcs.Registry() as registry:
        registry.register_factory(User, recorder.async_factory("User"))
        container.use(SvcsResolver(registry))

        def handle(user: User) -> Any:
            return user

        assert run_job("async", container, handle) == "User"
    assert recorder.log == ["+User", "-User"]


def test_a_mark_of_dishka_says_what_is_asked_for(container: Container) -> None:
    close = with_dishka(container, [])

    def handle(
        clock: Annotated[Clock, dishka.FromComponent("clocks")], plain: Session, marked: FromDishka[Session]
    ) -> Any:
        assert plain is marked
        return clock

    assert run_job("sync", container, handle) is run_job("sync", container, handle)
    with container.scope() as scope, container.scope() as other:
        assert scope.get(Clock) is not other.get(Clock), "without the mark it is autowired"
    close()


def test_async_dishka_is_not_asked_by_sync_jobs(container: Container, recorder: Recorder) -> None:
    with_async_dishka(container, recorder.log)

    with container.scope() as scope:
        assert type(scope.get(Session)) is Session
    assert recorder.log == []
