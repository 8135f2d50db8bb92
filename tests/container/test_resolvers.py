from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import svcs

from laraq.container import Container, ResolverScope
from laraq.errors import ConfigurationError, InjectionError
from tests.container.shop import Clock, Job, Mailer, Order, Outer, Recorder, User


class Known:
    """The smallest resolver: it knows some types, and writes down when it is opened and left."""

    def __init__(self, *known: type, log: list[str] | None = None) -> None:
        self.made: dict[Any, Any] = {key: object() for key in known}
        self.log = [] if log is None else log

    @contextmanager
    def scope(self, extras: Mapping[Any, Any]) -> Iterator[ResolverScope]:
        self.log.append("opened")
        try:
            yield self
        except BaseException as error:
            self.log.append(f"left with {type(error).__name__}")
            raise
        else:
            self.log.append("left")

    def get(self, key: Any, default: Any) -> Any:
        return self.made.get(key, default)


# -- the order --------------------------------------------------------------------------------------------------------


def test_resolvers_come_after_bindings_and_before_autowiring(container: Container) -> None:
    resolver = Known(Job, Clock, User)
    container.use(resolver)
    container.instance(User, user := User())

    with container.scope({Job: (job := Job())}) as scope:
        assert scope.get(Job) is job
        assert scope.get(User) is user
        assert scope.get(Clock) is resolver.made[Clock]
        assert type(scope.get(Order)) is Order


def test_resolvers_are_asked_in_the_order_of_their_plugging(container: Container) -> None:
    first, second = Known(Clock), Known(Clock, User)
    container.use(first)
    container.use(second)

    with container.scope() as scope:
        assert scope.get(Clock) is first.made[Clock]
        assert scope.get(User) is second.made[User]


def test_resolvers_fill_the_parameters_of_own_factories_and_constructors(container: Container) -> None:
    container.use(resolver := Known(Mailer))

    with container.scope() as scope:
        assert scope.get(Outer).service.mailer is resolver.made[Mailer]


def test_a_resolver_is_asked_before_a_default_is_taken(container: Container) -> None:
    container.use(resolver := Known(Clock))

    def handle(clock: Clock | None = None) -> Any:
        return clock

    with container.scope() as scope:
        assert scope.call(handle) is resolver.made[Clock]


def test_a_resolver_has_one_scope_per_job_and_none_when_nothing_is_asked(container: Container) -> None:
    container.use(resolver := Known(Clock, User))
    with container.scope():
        pass
    assert resolver.log == []

    with container.scope() as scope:
        scope.get(Clock)
        scope.get(User)

    assert resolver.log == ["opened", "left"]


def test_a_resolver_is_left_with_the_exception_of_the_job_after_what_is_made_of_it(
    container: Container, recorder: Recorder
) -> None:
    container.use(Known(Clock, log=recorder.log))

    def of_clock(clock: Clock) -> Iterator[str]:
        with recorder.opened("User") as value:
            yield value

    container.bind(User, of_clock)

    def handle(user: User) -> None:
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"), container.scope() as scope:
        scope.call(handle)

    assert recorder.log == ["opened", "+User", "!User ValueError", "-User", "left with ValueError"]


def test_a_singleton_is_not_made_of_what_a_resolver_has(container: Container) -> None:
    container.use(Known(Mailer))
    container.singleton(Outer)

    with container.scope() as scope, pytest.raises(InjectionError, match="nothing is bound to"):
        scope.get(Outer)


def test_the_container_of_another_library_has_to_be_wrapped(container: Container) -> None:
    with pytest.raises(ConfigurationError, match=r"svcs\S*\.Registry is no Resolver: wrap it, .*SvcsResolver"):
        container.use(svcs.Registry())  # type: ignore[arg-type]


def test_no_other_library_is_imported_before_it_is_used() -> None:
    script = "import sys, laraq.container; print(sorted({'svcs', 'dishka', 'attrs'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout == "[]\n"
