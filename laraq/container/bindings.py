"""Bindings: what the application said about how types are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_origin

from laraq.container.resolvers import AsyncResolver, Resolver

#: How long an instance is kept: for one job, or for the process.
Lifetime: TypeAlias = Literal["job", "singleton"]


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """How one type is made. Binding a type again makes a new one, so that nothing made by the old one is reused."""

    key: Any
    #: A value, a class, or a factory.
    source: Any
    lifetime: Lifetime
    #: Whether a context manager that a factory returns is entered.
    enter: bool
    is_value: bool

    @property
    def is_class(self) -> bool:
        """Whether the source is a class, `Repo` or `Repo[User]`: it is built, not called as a factory."""
        return isinstance(get_origin(self.source) or self.source, type)


@dataclass(slots=True)
class Bindings:
    """Shared by a container and its scopes."""

    by_key: dict[Any, Binding] = field(default_factory=dict)
    resolvers: list[Resolver | AsyncResolver] = field(default_factory=list)
