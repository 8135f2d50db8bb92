from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import svcs

from laraq.container import Container, Injected, SvcsResolver
from tests.container.event_loop import in_event_loop
from tests.container.shop import Clock, Job, Mailer, Recorder, Smtp, User


@pytest.fixture
def registry(container: Container) -> Iterator[svcs.Registry]:
    with svcs.Registry() as registry:
        container.use(SvcsResolver(registry))
        yield registry


def test_svcs_fills_parameters_from_one_container_per_job(container: Container, registry: svcs.Registry) -> None:
    registry.register_factory(Mailer, Smtp)
    registry.register_factory(Clock, Clock)

    def handle(mailer: Mailer, clock: Injected[Clock]) -> tuple[Mailer, Clock]:
        return mailer, clock

    with container.scope() as scope, container.scope() as other:
        mailer, clock = scope.call(handle)
        assert isinstance(mailer, Smtp)
        assert clock is scope.get(Clock)
        assert clock is not other.get(Clock)


def test_svcs_services_are_closed_at_the_end_of_the_job(
    container: Container, registry: svcs.Registry, recorder: Recorder
) -> None:
    registry.register_factory(User, recorder.factory("User"), suppress_context_exit=False)

    def handle(user: User) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"), container.scope() as scope:
        scope.call(handle)

    assert recorder.log == ["+User", "!User ValueError", "-User"]


def test_svcs_factories_may_ask_for_the_job(container: Container, registry: svcs.Registry) -> None:
    registry.register_factory(User, lambda svcs_container: svcs_container.get(Job))

    with container.scope({Job: (job := Job())}) as scope:
        found: object = scope.get(User)
        assert found is job


def test_a_type_that_svcs_does_not_know_is_autowired(container: Container, registry: svcs.Registry) -> None:
    with container.scope() as scope:
        assert type(scope.get(Clock)) is Clock


def test_a_service_that_lacks_a_part_raises_the_error_of_svcs(container: Container, registry: svcs.Registry) -> None:
    registry.register_factory(User, lambda svcs_container: svcs_container.get(Clock))

    with container.scope() as scope, pytest.raises(svcs.exceptions.ServiceNotFoundError):
        scope.get(User)


@in_event_loop
async def test_svcs_serves_async_jobs_with_async_and_sync_services(
    container: Container, registry: svcs.Registry, recorder: Recorder
) -> None:
    registry.register_factory(User, recorder.async_factory("User"))
    registry.register_factory(Clock, recorder.factory("Clock"))

    async def handle(user: User, clock: Clock) -> list[Any]:
        return [user, clock]

    async with container.scope() as scope:
        assert await scope.acall(handle) == ["User", "Clock"]

    assert recorder.log == ["+User", "+Clock", "-Clock", "-User"]
