"""Resolvers: containers of other libraries, plugged in with `container.use(...)`.

laraq's bindings come first, then the resolvers in the order of `use`, then autowiring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import dishka
    import svcs
    from dishka.exceptions import NoFactoryError


@runtime_checkable
class Resolver(Protocol):
    """A container of another library."""

    def open(self, extras: Mapping[Any, Any]) -> Any:
        """A context manager of that container for one job, entered when the job first needs a type, and exited with the
        job's exception; `extras` are the job's objects. An async-only one is not used in sync jobs."""

    def ask(self, entered: Any, key: Any, default: Any, as_async: bool) -> Any:
        """The instance of a type, or `default` if the container does not know it; an awaitable of that if the context
        manager was entered as an async one."""


class SvcsResolver:
    """The services of a `svcs.Registry`: one `svcs.Container` per job, closed at its end.

    Services may themselves get the job's objects from that container (`svcs_container.get(Job)`).
    """

    def __init__(self, registry: svcs.Registry) -> None:
        self._registry = registry

    def open(self, extras: Mapping[Any, Any]) -> svcs.Container:
        """See Resolver."""
        import svcs

        container = svcs.Container(self._registry)
        for key, value in extras.items():
            container.register_local_value(key, value)
        return container

    def ask(self, entered: svcs.Container, key: Any, default: Any, as_async: bool) -> Any:
        """See Resolver."""
        if as_async:
            return self._aask(entered, key, default)
        # Looked up first: ServiceNotFoundError may also be about a dependency of a factory of the registry.
        return entered.get(key) if key in self._registry else default

    async def _aask(self, entered: svcs.Container, key: Any, default: Any) -> Any:
        return await entered.aget(key) if key in self._registry else default


class DishkaResolver:
    """A dishka container (`make_container`): its next scope, REQUEST, is entered once per job.

    The job's objects are its context: `provider.from_context(Job, scope=Scope.REQUEST)`.
    """

    def __init__(self, container: dishka.Container) -> None:
        self._container = container

    def open(self, extras: Mapping[Any, Any]) -> Any:
        """See Resolver."""
        return self._container(context=dict(extras))

    def ask(self, entered: dishka.Container, key: Any, default: Any, as_async: bool) -> Any:
        """See Resolver."""
        from dishka.exceptions import NoFactoryError

        asked = _with_component(key)
        try:
            return entered.get(*asked)
        except NoFactoryError as error:
            return _default(default, error, asked[0])


class AsyncDishkaResolver:
    """An async dishka container (`make_async_container`), used like DishkaResolver.

    Sync jobs do not use it; they need a DishkaResolver in addition.
    """

    def __init__(self, container: dishka.AsyncContainer) -> None:
        self._container = container

    def open(self, extras: Mapping[Any, Any]) -> Any:
        """See Resolver."""
        return self._container(context=dict(extras))

    async def ask(self, entered: dishka.AsyncContainer, key: Any, default: Any, as_async: bool) -> Any:
        """See Resolver."""
        from dishka.exceptions import NoFactoryError

        asked = _with_component(key)
        try:
            return await entered.get(*asked)
        except NoFactoryError as error:
            return _default(default, error, asked[0])


def _with_component(key: Any) -> tuple[Any, str]:
    """`Annotated[T, FromComponent("x")]`, of which `FromDishka[T]` is one, as the arguments of dishka's `get`."""
    for mark in getattr(key, "__metadata__", ()):
        if isinstance(component := getattr(mark, "component", None), str):
            return key.__origin__, component
    return key, ""


def _default(default: Any, error: NoFactoryError, asked: Any) -> Any:
    """The default; raises the error if dishka knows the type, but lacks one of its dependencies."""
    if error.path or error.requested.type_hint != asked:
        raise error
    return default
