"""Container: the bindings of types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from laraq.container import refusals
from laraq.container.bindings import Bindings, Lifetime, Recipe
from laraq.container.parameters import parameters_of, wanted
from laraq.container.resolvers import Resolver
from laraq.container.singletons import finish
from laraq.errors import ConfigurationError

if TYPE_CHECKING:  # imported when the first scope is opened, and svcs with it
    from laraq.container.scope import Scope


class Container:
    """Fills the parameters of `handle` by type.

        container.instance(Settings, settings)        # this object
        container.bind(Session, open_session)         # created once per job; a generator is closed at the end of the
        job container.singleton(Client, make_client)      # created once per process container.bind(Repo, SqlRepo)
        # an abstract class by a concrete one

    Factories and constructors are injected themselves. Unbound concrete classes are built from their constructors.
    May be used by several threads; each job has its own scope.
    """

    def __init__(self) -> None:
        self._bindings = Bindings()

    def bind(self, key: Any, source: Any = None, *, lifetime: Lifetime = "job", enter: bool = True) -> None:
        """Set how a type is created; binding it again replaces that.

        `source` is a class, which is built, or a factory; anything that cannot be called is the value itself; None
        stands for the class `key`. A factory may be a plain or an async function or generator. A context manager
        that it returns is entered, and left at the end of the job with the job's exception; `enter=False` hands it
        over as it is.
        Raises InjectionError when `source` is None and `key` cannot be built.
        """
        key = wanted(key).keys[0]
        if source is None:
            if not refusals.can_be_built(key):
                raise refusals.cannot_make(key)
            source = key
        self._bindings.recipes[key] = Recipe(key, source, lifetime, enter, is_value=not callable(source))

    def singleton(self, key: Any, source: Any = None, *, enter: bool = True) -> None:
        """`bind` a type that is created once per process; by an async factory, once per event loop."""
        self.bind(key, source, lifetime="singleton", enter=enter)

    def instance(self, key: Any, value: Any) -> None:
        """Bind a type to this object; it is never entered or closed."""
        key = wanted(key).keys[0]
        self._bindings.recipes[key] = Recipe(key, value, is_value=True)

    def use(self, resolver: Resolver) -> None:
        """Plug in a container of another library; it is queried for types that are not bound here."""
        if not isinstance(resolver, Resolver):
            raise ConfigurationError(
                f"Expected a Resolver, got {type(resolver).__module__}.{type(resolver).__qualname__}:"
                " wrap it, as in container.use(SvcsResolver(registry)) or container.use(DishkaResolver(container))."
            )
        self._bindings.resolvers.append(resolver)

    def scope(self, extras: Mapping[Any, Any] | None = None) -> Scope:
        """The scope of one job, to be opened with `with` or `async with`; `extras` are the job's objects by type."""
        from laraq.container.scope import Scope

        return Scope(self._bindings, extras or {})

    def needs_injection(self, function: Callable[..., Any], given: Collection[str] = ()) -> bool:
        """Whether a call with these arguments leaves a parameter to fill; if not, no scope is needed."""
        parameters = parameters_of(function)
        return bool(parameters) and any(parameter.name not in given for parameter in parameters)

    def close(self) -> None:
        """Exit the context managers of the singletons, in reverse order; for the end of the process."""
        finish(self._bindings.singletons.aclose(None))

    async def aclose(self) -> None:
        """`close`, after the same for singletons that belong to the running event loop."""
        await self._bindings.singletons.aclose(asyncio.get_running_loop())
