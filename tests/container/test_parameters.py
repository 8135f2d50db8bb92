from __future__ import annotations

import functools
import gc
import textwrap
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from laraq.container import Container, Injected, injected, parameters_of
from laraq.container.parameters import INJECT, wanted
from tests.container import shop
from tests.container.far_away import FarAway
from tests.container.shop import Clock, Mailer, Primary, Repo, User

ClockDep = TypeAliasType("ClockDep", Annotated[Clock, INJECT])


def module_of(source: str, future: str = "") -> types.ModuleType:
    """A module of its own, with or without `from __future__ import annotations`."""
    module = types.ModuleType("of_a_test")
    exec(compile(future + textwrap.dedent(source), "of_a_test", "exec", dont_inherit=True), vars(module))
    return module


both_annotations = pytest.mark.parametrize(
    "future", ["", "from __future__ import annotations\n"], ids=["evaluated", "text"]
)


def _name(value: object) -> str:
    """For test ids: the same in every process, so without addresses."""
    return str(getattr(value, "__qualname__", value if isinstance(value, list) else type(value).__qualname__))


@pytest.mark.parametrize(
    ("hint", "type_", "keys", "marked"),
    [
        (Clock, Clock, [Clock], False),
        (Injected[Clock], Clock, [Clock], True),
        (Clock | None, Clock, [Clock], False),
        (Optional[Clock], Clock, [Clock], False),  # noqa: UP045 - the old spelling is a type of its own
        (Injected[Clock | None], Clock, [Clock], True),  # type: ignore[misc] # mypy: only in annotations
        (Injected[Clock] | None, Clock, [Clock], True),
        (Primary, Clock, [Primary, Clock], False),
        (Primary | None, Clock, [Primary, Clock], False),
        (Injected[Primary], Clock, [Primary, Clock], True),
        (Annotated[Clock, ["unhashable"]], Clock, [Clock], False),
        (Repo[User], Repo[User], [Repo[User], Repo], False),
        (Injected[Repo[User]], Repo[User], [Repo[User], Repo], True),
        (Clock | User, Clock | User, [Clock | User], False),
        (Clock | User | None, Clock | User | None, [Clock | User | None], False),
        (ClockDep, Clock, [Clock], True),
    ],
    ids=_name,
)
def test_a_hint_says_what_is_looked_for(hint: Any, type_: Any, keys: list[Any], marked: bool) -> None:
    found = wanted(hint)

    assert (found.type, list(found.keys), found.marked) == (type_, keys, marked)


def plain(user_id: int, mailer: Mailer) -> None: ...


def marked(user_id: int, mailer: Injected[Mailer]) -> None: ...


def with_default(user_id: int, mailer: Injected[Mailer] = injected()) -> None: ...  # noqa: B008 - it is a marker, not a value


def by_default_alone(user_id: int, mailer: Mailer = injected()) -> None: ...  # noqa: B008 - it is a marker, not a value


def optional(user_id: int, mailer: Injected[Mailer | None] = None) -> None: ...


def undefined(user_id: int, mailer: Injected[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def undefined_optional(mailer: Injected[Nowhere] | None) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def undefined_behind_a_dot(mailer: shop.Nowhere, clock: ClockDep) -> None: ...  # type: ignore[name-defined]


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (plain, []),
        (marked, ["mailer"]),
        (with_default, ["mailer"]),
        (by_default_alone, ["mailer"]),
        (optional, ["mailer"]),
        (undefined, ["mailer"]),
        (undefined_optional, ["mailer"]),
        (undefined_behind_a_dot, ["clock"]),
    ],
)
def test_injected_parameters_are_told_from_fields_also_before_their_type_is_defined(
    function: Callable[..., Any], names: list[str]
) -> None:
    assert [parameter.name for parameter in parameters_of(function) if parameter.is_injected] == names


@both_annotations
def test_a_type_may_be_defined_after_the_function(future: str) -> None:
    source = """
        from laraq.container import Injected
        def handle(one: "Later", two: Injected["Later"], three: "Injected[Later]"): return one, two, three
    """
    module = module_of(source, future)
    assert [parameter.is_injected for parameter in parameters_of(module.handle)] == [False, True, True]
    exec("class Later: ...", vars(module))

    with Container().scope() as scope:
        one, two, three = scope.call(module.handle)
    assert type(one) is module.Later
    assert one is two is three


@both_annotations
def test_one_annotation_that_cannot_be_read_does_not_spoil_the_others(future: str) -> None:
    source = """
        class Clock: ...
        def handle(clock: Clock, other: "Nowhere" = None) -> "Nowhere": return clock, other
    """
    module = module_of(source, future)

    with Container().scope() as scope:
        clock, other = scope.call(module.handle)
    assert isinstance(clock, module.Clock)
    assert other is None


@both_annotations
def test_types_of_the_enclosing_function_are_found_when_the_function_uses_them(future: str) -> None:
    source = """
        def outer():
            class Local: ...
            def handle(local: Local): return type(local) is Local
            return handle
    """

    with Container().scope() as scope:
        assert scope.call(module_of(source, future).outer())


class Base:
    def handle(self, clock: Clock) -> Clock:
        return clock


class Derived(Base):
    pass


class Settings(BaseModel):
    clock: Annotated[Any, "not injected"] = None
    retries: int = 3


@contextmanager
def managed(clock: Clock) -> Iterator[Clock]:
    yield clock


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Callable_:
    def __call__(self, clock: Clock) -> Clock:
        return clock


class WithNew:
    def __new__(cls, clock: Clock) -> WithNew:
        return super().__new__(cls)


class Nothing:
    pass


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (Base().handle, ["clock"]),
        (Derived().handle, ["clock"]),
        (Base.handle, ["self", "clock"]),
        (FarAway, ["clock", "name"]),
        (WithNew, ["clock"]),
        (Settings, ["clock", "retries"]),
        (Nothing, []),
        (managed, ["clock"]),
        (decorated(plain), ["user_id", "mailer"]),
        (functools.partial(plain, 1), ["mailer"]),
        (Callable_(), ["clock"]),
        (lambda: None, []),
        (dict, []),
        ([].append, ["object"]),
    ],
    ids=_name,
)
def test_everything_that_can_be_called_has_parameters(function: Callable[..., Any], names: list[str]) -> None:
    assert [parameter.name for parameter in parameters_of(function)] == names


@pytest.mark.parametrize("function", [Derived().handle, FarAway, WithNew, managed, Callable_(), decorated(managed)])
def test_parameters_have_the_types_of_their_annotations(function: Callable[..., Any]) -> None:
    clock = next(parameter for parameter in parameters_of(function) if parameter.name == "clock")

    assert clock.wanted.type is Clock


def test_parameters_are_read_once_and_forgotten_with_their_function() -> None:
    def handle(clock: Clock) -> None: ...

    assert parameters_of(handle) is parameters_of(handle)

    gone = weakref.ref(handle)
    del handle
    gc.collect()
    assert gone() is None
