from __future__ import annotations

from decimal import Decimal

import pytest

from laraq.container import Container, Scope
from laraq.container.singletons import finish
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.shop import Clock, Disk, Egg, Mailer, NeedsDsn, Outer, Service, Smtp, Store, Untyped

HERE = __name__
SHOP = shop.__name__


class Send:
    def protocol(self, mailer: Mailer) -> None: ...

    def abstract(self, store: Store) -> None: ...

    def builtin(self, count: int) -> None: ...

    def of_python(self, price: Decimal) -> None: ...

    def union(self, either: Smtp | Disk) -> None: ...

    def untyped(self, thing) -> None: ...  # type: ignore[no-untyped-def]

    def unknown(self, thing: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def nested(self, service: Service) -> None: ...

    def deeper(self, outer: Outer) -> None: ...

    def value_of_a_class(self, needs: NeedsDsn) -> None: ...

    def untyped_in_a_class(self, untyped: Untyped) -> None: ...

    def clocked(self, clock: Clock) -> None: ...

    def cyclic(self, egg: Egg) -> None: ...


class SendToday(Send):
    pass


_FIX = "Bind it with container.bind({}, ...) or give the parameter a default."


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "protocol",
            f"Cannot fill parameter 'mailer' of {HERE}.SendToday.protocol: nothing is bound to {SHOP}.Mailer. "
            + _FIX.format("Mailer"),
        ),
        (
            "abstract",
            f"Cannot fill parameter 'store' of {HERE}.SendToday.abstract: nothing is bound to {SHOP}.Store. "
            + _FIX.format("Store"),
        ),
        (
            "builtin",
            f"Cannot fill parameter 'count' of {HERE}.SendToday.builtin: nothing is bound to int. "
            + _FIX.format("int"),
        ),
        (
            "of_python",
            f"Cannot fill parameter 'price' of {HERE}.SendToday.of_python: nothing is bound to decimal.Decimal. "
            + _FIX.format("Decimal"),
        ),
        (
            "union",
            f"Cannot fill parameter 'either' of {HERE}.SendToday.union: nothing is bound to {SHOP}.Smtp | {SHOP}.Disk. "
            + _FIX.format(f"{SHOP}.Smtp | {SHOP}.Disk"),
        ),
        (
            "untyped",
            f"Cannot fill parameter 'thing' of {HERE}.SendToday.untyped: it has no type annotation. "
            "Annotate it with its type or give it a default.",
        ),
        (
            "unknown",
            f"Cannot fill parameter 'thing' of {HERE}.SendToday.unknown: its annotation 'Nowhere' cannot be read "
            "(name 'Nowhere' is not defined). Import the name at run time, not only under TYPE_CHECKING, "
            "or give the parameter a default.",
        ),
        (
            "nested",
            f"Cannot fill parameter 'mailer' of {SHOP}.Service, needed by {HERE}.SendToday.nested: "
            f"nothing is bound to {SHOP}.Mailer. " + _FIX.format("Mailer"),
        ),
        (
            "deeper",
            f"Cannot fill parameter 'mailer' of {SHOP}.Service, needed by {SHOP}.Outer, needed by "
            f"{HERE}.SendToday.deeper: nothing is bound to {SHOP}.Mailer. " + _FIX.format("Mailer"),
        ),
        (
            "value_of_a_class",
            f"Cannot fill parameter 'dsn' of {SHOP}.NeedsDsn, needed by {HERE}.SendToday.value_of_a_class: "
            f"nothing is bound to str. Bind {SHOP}.NeedsDsn itself with container.bind(NeedsDsn, factory) "
            "or give the parameter a default.",
        ),
        (
            "untyped_in_a_class",
            f"Cannot fill parameter 'thing' of {SHOP}.Untyped, needed by {HERE}.SendToday.untyped_in_a_class: "
            "it has no type annotation. Annotate it with its type or give it a default.",
        ),
        (
            "cyclic",
            f"Cannot make {SHOP}.Egg: it needs itself, {SHOP}.Egg -> {SHOP}.Chicken -> {SHOP}.Egg. "
            "Build one of them without the next.",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused_with_the_way_out(scope: Scope, name: str, message: str) -> None:
    with pytest.raises(InjectionError) as refusal:
        scope.call(getattr(SendToday(), name))

    assert str(refusal.value) == message


def test_a_parameter_of_a_factory_is_named_with_the_factory(container: Container, scope: Scope) -> None:
    def make(mailer: Mailer) -> Clock:
        raise AssertionError(mailer)

    container.bind(Clock, make)

    with pytest.raises(InjectionError, match=rf"'mailer' of {HERE}\.\S+\.make, needed by {HERE}.SendToday.clocked:"):
        scope.call(SendToday().clocked)


def test_a_type_asked_for_directly_is_refused_by_name(scope: Scope) -> None:
    with pytest.raises(InjectionError, match=f"Cannot make {SHOP}.Mailer: nothing is bound to it"):
        scope.get(Mailer)


def test_a_cycle_through_bindings_is_refused_and_the_scope_stays_usable(container: Container, scope: Scope) -> None:
    def needs_clock(clock: Clock) -> Smtp:
        raise AssertionError(clock)

    def needs_smtp(smtp: Smtp) -> Clock:
        raise AssertionError(smtp)

    container.bind(Smtp, needs_clock)
    container.bind(Clock, needs_smtp)

    with pytest.raises(InjectionError, match=f"{SHOP}.Clock -> {SHOP}.Smtp -> {SHOP}.Clock"):
        scope.get(Clock)
    container.bind(Clock, Clock)
    assert isinstance(scope.get(Clock), Clock)


def test_what_a_factory_raises_reaches_the_caller_as_it_is(container: Container, scope: Scope) -> None:
    container.bind(Clock, lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        scope.get(Clock)


def test_a_scope_makes_nothing_before_it_is_opened_after_it_is_closed_and_for_the_other_kind_of_job(
    container: Container,
) -> None:
    scope = container.scope()
    not_open = pytest.raises(InjectionError, match="This scope is not open for sync code: `with")
    with not_open:
        scope.get(Clock)
    with scope:
        scope.get(Clock)
        with pytest.raises(InjectionError, match="not open for async code: `async with"):
            finish(scope.aget(Clock))
    with not_open:
        scope.get(Clock)
