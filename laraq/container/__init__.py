"""Dependency injection: the parameters of `handle`, filled by type."""

from laraq.container.container import Container
from laraq.container.parameters import Injected, Parameter, declare_locals, injected, parameters_of
from laraq.container.resolvers import (
    AsyncDishkaResolver,
    AsyncResolver,
    AsyncResolverScope,
    DishkaResolver,
    Resolver,
    ResolverScope,
    SvcsResolver,
)
from laraq.container.scope import Scope

__all__ = [
    "AsyncDishkaResolver",
    "AsyncResolver",
    "AsyncResolverScope",
    "Container",
    "DishkaResolver",
    "Injected",
    "Parameter",
    "Resolver",
    "ResolverScope",
    "Scope",
    "SvcsResolver",
    "declare_locals",
    "injected",
    "parameters_of",
]
