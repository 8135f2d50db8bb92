"""Bindings: how the application creates instances of types."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_origin

from laraq.container.resolvers import Resolver
from laraq.container.singletons import Singletons

if TYPE_CHECKING:  # imported when the first scope is opened
    import svcs

#: How long an instance is kept: for one job, or for the process.
Lifetime: TypeAlias = Literal["job", "singleton"]


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How one type is created."""

    key: Any
    #: A value, a class, or a factory.
    source: Any
    lifetime: Lifetime = "job"
    #: Whether a context manager that a factory returns is entered.
    enter: bool = True
    is_value: bool = False

    @property
    def is_class(self) -> bool:
        """Whether the source is a class, `Repo` or `Repo[User]`, which is built, not called as a factory."""
        return isinstance(get_origin(self.source) or self.source, type)


@dataclass
class Bindings:
    """The bindings shared by a container and its scopes."""

    recipes: dict[Any, Recipe] = field(default_factory=dict)
    resolvers: list[Resolver] = field(default_factory=list)
    singletons: Singletons = field(default_factory=Singletons)

    @cached_property
    def registry(self) -> svcs.Registry:
        """The factories of types that were already requested."""
        import svcs

        return svcs.Registry()
