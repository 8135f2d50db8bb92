from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from laraq.container import Container, Scope
from tests.container.shop import Clock, Order, Recorder, UnitOfWork, User


def run_job(container: Container, *keys: type, error: BaseException | None = None) -> None:
    """A job that uses these types and then ends, with this error."""
    with container.scope() as scope:
        for key in keys:
            scope.get(key)
        if error is not None:
            raise error


def test_the_scope_leaves_in_reverse_order(container: Container, recorder: Recorder) -> None:
    for key in (User, Order, Clock):
        container.bind(key, recorder.factory(key.__name__))

    def handle(order: Order, user: User) -> None:
        recorder.log.append("handle")

    with container.scope() as scope:
        scope.call(handle)

    assert recorder.log == ["+Order", "+User", "handle", "-User", "-Order"]


def test_what_is_made_of_something_is_left_before_it(container: Container, recorder: Recorder) -> None:
    def of_clock(clock: Clock) -> Iterator[str]:
        with recorder.opened("User") as value:
            yield value

    container.bind(User, of_clock)
    container.bind(Clock, recorder.factory("Clock"))

    with container.scope() as scope:
        scope.get(User)

    assert recorder.log == ["+Clock", "+User", "-User", "-Clock"]


def test_every_factory_sees_the_exception_of_the_job(container: Container, recorder: Recorder) -> None:
    container.bind(User, recorder.factory("User"))
    container.bind(Clock, lambda: recorder.opened("Clock"))

    with pytest.raises(ValueError, match="job"):
        run_job(container, User, Clock, error=ValueError("job"))

    assert recorder.log == ["+User", "+Clock", "!Clock ValueError", "-Clock", "!User ValueError", "-User"]


def test_a_factory_cannot_hide_the_exception_of_the_job(container: Container, recorder: Recorder) -> None:
    def forgets_to_raise() -> Iterator[Clock]:
        try:
            yield Clock()
        except ValueError:
            recorder.log.append("rolled back")

    container.bind(User, recorder.factory("User"))
    container.bind(Clock, forgets_to_raise)

    with pytest.raises(ValueError, match="job"):
        run_job(container, User, Clock, error=ValueError("job"))

    assert recorder.log == ["+User", "rolled back", "!User ValueError", "-User"]


def test_a_failing_teardown_is_raised_after_the_others_ran(container: Container, recorder: Recorder) -> None:
    def fails_to_commit() -> Iterator[Clock]:
        yield Clock()
        raise OSError("commit")

    container.bind(User, recorder.factory("User"))
    container.bind(Clock, fails_to_commit)

    with pytest.raises(OSError, match="commit"):
        run_job(container, User, Clock)

    assert recorder.log == ["+User", "!User OSError", "-User"]


def test_a_teardown_that_fails_after_the_job_keeps_the_error_of_the_job_as_its_context(container: Container) -> None:
    def fails_to_roll_back() -> Iterator[Clock]:
        try:
            yield Clock()
        finally:
            raise OSError("rollback")

    container.bind(Clock, fails_to_roll_back)

    with pytest.raises(OSError, match="rollback") as failure:
        run_job(container, Clock, error=ValueError("job"))

    assert isinstance(failure.value.__context__, ValueError)


def test_a_factory_that_fails_to_open_is_not_left_but_those_before_it_are(
    container: Container, recorder: Recorder
) -> None:
    def fails_to_open() -> Iterator[Clock]:
        raise OSError("open")
        yield Clock()

    container.bind(User, recorder.factory("User"))
    container.bind(Clock, fails_to_open)

    with pytest.raises(OSError, match="open"):
        run_job(container, User, Clock)

    assert recorder.log == ["+User", "!User OSError", "-User"]


@pytest.mark.parametrize(
    ("source", "enter", "entered"),
    [(lambda: UnitOfWork(), True, 1), (lambda: UnitOfWork(), False, 0), (UnitOfWork, True, 0), (None, True, 0)],
    ids=["of a factory", "of a factory, as it is", "of a class", "autowired"],
)
def test_a_context_manager_is_entered_when_a_factory_made_it(
    container: Container, scope: Scope, source: Any, enter: bool, entered: int
) -> None:
    if source is not None:
        container.bind(UnitOfWork, source, enter=enter)

    assert scope.get(UnitOfWork).entered == entered
