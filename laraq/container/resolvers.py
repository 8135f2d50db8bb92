"""Resolvers: containers of other libraries, plugged into the own one with `container.use(...)`.

Own bindings come first, then the resolvers in the order of their plugging, then autowiring.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import dishka
    import svcs
    from dishka.exceptions import NoFactoryError


class ResolverScope(Protocol):
    """Another container during one job."""

    def get(self, key: Any, default: Any) -> Any:
        """The instance of a type, or `default` when that type is not its own; other errors are raised."""


class AsyncResolverScope(Protocol):
    """The same during one async job."""

    async def aget(self, key: Any, default: Any) -> Any:
        """The instance of a type, or `default` when that type is not its own; other errors are raised."""


@runtime_checkable
class Resolver(Protocol):
    """A container that can serve sync jobs; async ones as well, when it is no AsyncResolver."""

    def scope(self, extras: Mapping[Any, Any]) -> AbstractContextManager[ResolverScope]:
        """Opened at the first type a job asks for, left with the job's exception; `extras` are its own objects."""


@runtime_checkable
class AsyncResolver(Protocol):
    """A container that can serve async jobs."""

    def ascope(self, extras: Mapping[Any, Any]) -> AbstractAsyncContextManager[AsyncResolverScope]:
        """Opened at the first type a job asks for, left with the job's exception; `extras` are its own objects."""


class SvcsResolver:
    """The services of a `svcs.Registry`: one `svcs.Container` per job, closed at its end.

    Services may themselves ask that container for the job's own objects (`svcs_container.get(Job)`).
    """

    def __init__(self, registry: svcs.Registry) -> None:
        self._registry = registry

    @contextmanager
    def scope(self, extras: Mapping[Any, Any]) -> Iterator[ResolverScope]:
        """See Resolver."""
        with self._container(extras) as container:
            yield _SvcsScope(self._registry, container)

    @asynccontextmanager
    async def ascope(self, extras: Mapping[Any, Any]) -> AsyncIterator[AsyncResolverScope]:
        """See AsyncResolver."""
        async with self._container(extras) as container:
            yield _SvcsScope(self._registry, container)

    def _container(self, extras: Mapping[Any, Any]) -> svcs.Container:
        import svcs

        container = svcs.Container(self._registry)
        for key, value in extras.items():
            container.register_local_value(key, value)
        return container


class _SvcsScope:
    def __init__(self, registry: svcs.Registry, container: svcs.Container) -> None:
        self._registry = registry
        self._container = container

    # Asking first: ServiceNotFoundError may also be about something that a factory of the registry needs.

    def get(self, key: Any, default: Any) -> Any:
        return self._container.get(key) if key in self._registry else default

    async def aget(self, key: Any, default: Any) -> Any:
        return await self._container.aget(key) if key in self._registry else default


class DishkaResolver:
    """A dishka container (`make_container`): its next scope, REQUEST, is entered once per job.

    The job's own objects are its context: `provider.from_context(Job, scope=Scope.REQUEST)`.
    """

    def __init__(self, container: dishka.Container) -> None:
        self._container = container

    @contextmanager
    def scope(self, extras: Mapping[Any, Any]) -> Iterator[ResolverScope]:
        """See Resolver."""
        with self._container(context=dict(extras)) as request:
            yield _DishkaScope(request)


class AsyncDishkaResolver:
    """The same for an async dishka container (`make_async_container`).

    Sync jobs see nothing of it; they need a DishkaResolver beside it.
    """

    def __init__(self, container: dishka.AsyncContainer) -> None:
        self._container = container

    @asynccontextmanager
    async def ascope(self, extras: Mapping[Any, Any]) -> AsyncIterator[AsyncResolverScope]:
        """See AsyncResolver."""
        async with self._container(context=dict(extras)) as request:
            yield _AsyncDishkaScope(request)


class _DishkaScope:
    def __init__(self, request: dishka.Container) -> None:
        self._request = request

    def get(self, key: Any, default: Any) -> Any:
        from dishka.exceptions import NoFactoryError

        type_, component = _with_component(key)
        try:
            return self._request.get(type_, component)
        except NoFactoryError as error:
            if _is_about_a_part(error, type_):
                raise
            return default


class _AsyncDishkaScope:
    def __init__(self, request: dishka.AsyncContainer) -> None:
        self._request = request

    async def aget(self, key: Any, default: Any) -> Any:
        from dishka.exceptions import NoFactoryError

        type_, component = _with_component(key)
        try:
            return await self._request.get(type_, component)
        except NoFactoryError as error:
            if _is_about_a_part(error, type_):
                raise
            return default


def _with_component(key: Any) -> tuple[Any, str]:
    """`Annotated[T, FromComponent("x")]`, of which `FromDishka[T]` is one, as the arguments of dishka's `get`."""
    for mark in getattr(key, "__metadata__", ()):
        if isinstance(component := getattr(mark, "component", None), str):
            return key.__origin__, component
    return key, ""


def _is_about_a_part(error: NoFactoryError, type_: Any) -> bool:
    """Whether dishka knows the type, and lacks something that it is made of."""
    return bool(error.path) or error.requested.type_hint != type_
