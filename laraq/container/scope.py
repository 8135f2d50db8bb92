"""Scope: the instances of one job."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

from laraq.container import teardown
from laraq.container.bindings import Bindings
from laraq.container.maker import NOTHING, Maker, Resolution, finish
from laraq.container.parameters import parameters_of, wanted
from laraq.container.resolvers import AsyncResolver, AsyncResolverScope, Resolver, ResolverScope
from laraq.container.singletons import Singletons
from laraq.errors import InjectionError

T = TypeVar("T")
R = TypeVar("R")

#: Asks another container's scope for a type; NOTHING when it is not its own.
_Ask: TypeAlias = Callable[[Any], Awaitable[Any]]


class Scope(Maker):
    """One instance of each type for one job; opened with `with` for a sync job, with `async with` for an async one.

    It belongs to the thread or task of its job and is not shared. At its end everything that was entered is left in
    reverse order and sees the job's exception.
    """

    __slots__ = ("_exit_stack", "_extras", "_plugged", "_singletons", "_state")

    def __init__(self, bindings: Bindings, extras: Mapping[Any, Any], singletons: Singletons) -> None:
        super().__init__(bindings)
        self._extras = extras
        self._singletons = singletons
        self._state: Literal["closed", "sync", "async"] = "closed"
        self._exit_stack: ExitStack | AsyncExitStack | None = None
        #: How to ask the plugged containers, by `id` of the resolver.
        self._plugged: dict[int, _Ask] = {}

    def __enter__(self) -> Self:
        self._state = "sync"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "closed"
        if isinstance(self._exit_stack, ExitStack):
            self._exit_stack.__exit__(kind, error, trace)

    async def __aenter__(self) -> Self:
        self._state = "async"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "closed"
        if isinstance(self._exit_stack, AsyncExitStack):
            await self._exit_stack.__aexit__(kind, error, trace)

    @overload
    def get(self, key: type[T]) -> T: ...
    @overload
    def get(self, key: Any) -> Any: ...
    def get(self, key: Any) -> Any:
        """The instance of a type in this job. Raises InjectionError, and whatever a factory raises."""
        return finish(self._get(wanted(key), self._resolution("sync")))

    @overload
    async def aget(self, key: type[T]) -> T: ...
    @overload
    async def aget(self, key: Any) -> Any: ...
    async def aget(self, key: Any) -> Any:
        """`get` in an async job."""
        return await self._get(wanted(key), self._resolution("async"))

    def call(self, function: Callable[..., R], /, **given: Any) -> R:
        """Call a function with the arguments given and the others injected by type.

        Raises InjectionError, and whatever a factory or the function raises.
        """
        if not parameters_of(function):
            return function(**given)
        positional, named = finish(self._arguments(function, given, self._resolution("sync", function)))
        return function(*positional, **named)

    @overload
    async def acall(self, function: Callable[..., Awaitable[R]], /, **given: Any) -> R: ...
    @overload
    async def acall(self, function: Callable[..., R], /, **given: Any) -> R: ...
    async def acall(self, function: Callable[..., Any], /, **given: Any) -> Any:
        """`call` in an async job, for async and sync functions."""
        positional, named = await self._arguments(function, given, self._resolution("async", function))
        result = function(*positional, **named)
        return await result if inspect.isawaitable(result) else result

    def _resolution(self, mode: Literal["sync", "async"], asked_by: Callable[..., Any] | None = None) -> Resolution:
        if self._state == "closed":
            raise InjectionError("This scope is not open: `with container.scope() as scope:`, one for each job.")
        if self._state != mode:
            verbs = "aget() and acall()" if self._state == "async" else "get() and call()"
            raise InjectionError(f"This scope was opened for {self._state} code: use its {verbs}.")
        return Resolution(mode == "async", asked_by)

    async def _offered(self, key: Any, resolution: Resolution) -> Any:
        if key in self._extras:
            return self._extras[key]
        binding = self._bindings.by_key.get(key)
        if binding is None:
            return await self._ask_resolvers(key, resolution)
        if binding.is_value:
            return binding.source
        if binding.lifetime == "singleton":
            return await self._singletons.obtain(binding, resolution)
        return await self._bound(binding, resolution)

    async def _ask_resolvers(self, key: Any, resolution: Resolution) -> Any:
        for resolver in self._bindings.resolvers:
            if id(resolver) not in self._plugged:
                self._plugged[id(resolver)] = await self._plug_in(resolver, resolution)
            found = await self._plugged[id(resolver)](key)
            if found is not NOTHING:
                return found
        return NOTHING

    async def _plug_in(self, resolver: Resolver | AsyncResolver, resolution: Resolution) -> _Ask:
        """Open the other container's own scope for this job."""
        exits = self._exits(resolution)
        if isinstance(resolver, AsyncResolver) and isinstance(exits, AsyncExitStack):
            of_async: AsyncResolverScope = await teardown.aenter(exits, resolver.ascope(self._extras))
            return lambda key: of_async.aget(key, NOTHING)
        if not isinstance(resolver, Resolver):
            return _ask_nobody
        of_sync: ResolverScope = teardown.enter(exits, resolver.scope(self._extras))

        async def ask(key: Any) -> Any:
            return of_sync.get(key, NOTHING)

        return ask

    def _exits(self, resolution: Resolution) -> ExitStack | AsyncExitStack:
        if self._exit_stack is None:
            self._exit_stack = AsyncExitStack() if resolution.is_async else ExitStack()
        return self._exit_stack


async def _ask_nobody(key: Any) -> Any:
    """Of an async container in a sync job."""
    return NOTHING
