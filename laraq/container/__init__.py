"""Dependency injection: fills the parameters of `handle` by type."""

from typing import TYPE_CHECKING, Any

from laraq.container.container import Container
from laraq.container.parameters import Injected, Parameter, injected, parameters_of
from laraq.container.resolvers import AsyncDishkaResolver, DishkaResolver, Resolver, SvcsResolver

if TYPE_CHECKING:
    from laraq.container.scope import Scope

__all__ = [
    "AsyncDishkaResolver",
    "Container",
    "DishkaResolver",
    "Injected",
    "Parameter",
    "Resolver",
    "Scope",
    "SvcsResolver",
    "injected",
    "parameters_of",
]


def __getattr__(name: str) -> Any:
    """Import Scope on first use, because it imports svcs."""
    if name != "Scope":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from laraq.container.scope import Scope

    return Scope
