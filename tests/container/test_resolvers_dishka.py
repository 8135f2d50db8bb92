from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import dishka
import pytest
from dishka import FromDishka, Provider, make_async_container, make_container
from dishka.exceptions import NoFactoryError

from laraq.container import AsyncDishkaResolver, Container, DishkaResolver, Injected
from tests.container.event_loop import in_event_loop
from tests.container.shop import Clock, Job, Order, Recorder, User

REQUEST = dishka.Scope.REQUEST


class Session:
    pass


class OfSession:
    def __init__(self, session: Session) -> None:
        self.session = session


class Providers(Provider):
    """Sync providers in the scope of a job, one of them made of the running job."""

    scope = REQUEST

    def __init__(self, recorder: Recorder, component: str | None = None) -> None:
        super().__init__(component=component)
        self.recorder = recorder

    job = dishka.from_context(Job, scope=REQUEST)
    of_session = dishka.provide(OfSession)

    @dishka.provide
    def session(self) -> Iterator[Session]:
        self.recorder.log.append("opened")
        error = yield Session()
        self.recorder.log.append(f"left with {error!r}")

    @dishka.provide
    def user(self, job: Job) -> User:
        user = User()
        user.job = job  # type: ignore[attr-defined]
        return user


class AsyncProviders(Provider):
    scope = REQUEST

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    of_session = dishka.provide(OfSession)

    @dishka.provide
    async def session(self) -> AsyncIterator[Session]:
        self.recorder.log.append("opened")
        error = yield Session()
        self.recorder.log.append(f"left with {error!r}")


@pytest.fixture
def with_dishka(container: Container, recorder: Recorder) -> Iterator[Container]:
    clocks = Provider(scope=dishka.Scope.APP, component="clocks")
    clocks.provide(Clock)
    made = make_container(Providers(recorder), clocks)
    container.use(DishkaResolver(made))
    yield container
    made.close()


def test_dishka_fills_parameters_from_one_request_scope_per_job(with_dishka: Container) -> None:
    def handle(plain: OfSession, marked: FromDishka[OfSession], own: Injected[Session]) -> OfSession:
        assert plain is marked
        assert plain.session is own
        return plain

    with with_dishka.scope() as scope, with_dishka.scope() as other:
        assert scope.call(handle) is not other.call(handle)


def test_dishka_factories_are_left_with_the_exception_of_the_job(with_dishka: Container, recorder: Recorder) -> None:
    def handle(session: Session) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"), with_dishka.scope() as scope:
        scope.call(handle)

    assert recorder.log == ["opened", "left with ValueError('job')"]


def test_dishka_providers_may_be_made_of_the_job(with_dishka: Container) -> None:
    with with_dishka.scope({Job: (job := Job())}) as scope:
        assert scope.get(User).job is job  # type: ignore[attr-defined]


def test_a_component_of_dishka_is_asked_for_by_its_mark(with_dishka: Container) -> None:
    def handle(clock: Annotated[Clock, dishka.FromComponent("clocks")]) -> Clock:
        return clock

    with with_dishka.scope() as scope, with_dishka.scope() as other:
        assert scope.call(handle) is other.call(handle)
        assert scope.get(Clock) is not other.get(Clock), "without the mark it is autowired"


def test_a_type_that_dishka_does_not_know_is_autowired(with_dishka: Container) -> None:
    with with_dishka.scope() as scope:
        assert type(scope.get(Order)) is Order


def test_a_provider_that_lacks_a_part_raises_the_error_of_dishka(container: Container) -> None:
    incomplete = Provider(scope=REQUEST)
    incomplete.provide(OfSession)
    container.use(DishkaResolver(made := make_container(incomplete, skip_validation=True)))

    with container.scope() as scope, pytest.raises(NoFactoryError, match="Session"):
        scope.get(OfSession)
    made.close()


@in_event_loop
async def test_dishka_serves_async_jobs(with_dishka: Container) -> None:
    async with with_dishka.scope() as scope:
        assert type((await scope.aget(OfSession)).session) is Session


@in_event_loop
async def test_async_dishka_serves_async_jobs(container: Container, recorder: Recorder) -> None:
    container.use(AsyncDishkaResolver(made := make_async_container(AsyncProviders(recorder))))

    async def handle(one: OfSession, session: Session, other: Order) -> None:
        assert one.session is session
        assert type(other) is Order
        raise ValueError("job")

    async def run() -> None:
        async with container.scope() as scope:
            await scope.acall(handle)

    with pytest.raises(ValueError, match="job"):
        await run()
    await made.close()

    assert recorder.log == ["opened", "left with ValueError('job')"]


def test_async_dishka_is_not_asked_by_sync_jobs(container: Container, recorder: Recorder) -> None:
    container.use(AsyncDishkaResolver(make_async_container(AsyncProviders(recorder))))

    with container.scope() as scope:
        assert type(scope.get(Session)) is Session
    assert recorder.log == []
