"""Scope: the injected objects of one job. Imported, together with svcs, when the first scope is opened.

svcs keeps the instances of a job (a Container per scope) and their factories (one Registry). Parameters are filled by
type here, and context managers are exited here: svcs only logs errors at the end, but a failing commit must fail the
job. There is one algorithm for sync and async jobs, written as coroutines: in a sync job they never wait, so that
`finish` can run them to their end without an event loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, get_origin, overload

import svcs

from laraq.container import refusals
from laraq.container.bindings import Bindings, Recipe
from laraq.container.parameters import REQUIRED, Parameter, Wanted, parameters_of, wanted
from laraq.container.resolvers import Resolver
from laraq.container.singletons import NOTHING, finish
from laraq.errors import InjectionError

T = TypeVar("T")
R = TypeVar("R")


class _Services(svcs.Container):
    """The svcs container of one scope; factories find the scope by it."""

    __slots__ = ("scope",)
    scope: Scope


@dataclass(slots=True, eq=False)
class Scope:
    """One instance of each type for one job; opened with `with` for a sync job, with `async with` for an async one.

    It belongs to the thread or task of its job and is not shared. At its end all context managers are exited in reverse
    order, with the job's exception.
    """

    _bindings: Bindings
    _extras: Mapping[Any, Any]
    #: None while the scope is not open.
    _is_async: bool | None = None
    _services: _Services = field(init=False)
    _exits: AsyncExitStack = field(default_factory=AsyncExitStack)
    #: How to query the plugged containers, by `id` of the resolver; None for one that only async jobs use.
    _plugged: dict[int, Callable[[Any], Awaitable[Any]] | None] = field(default_factory=dict)
    #: What is being built, outermost first: the called function, then types.
    _making: list[Any] = field(default_factory=list)
    #: The singleton for which this scope is, and whether it holds objects of the running event loop.
    _singleton: Any = None
    _loop_bound: bool = False

    def __enter__(self) -> Self:
        return self._open(is_async=False)

    def __exit__(self, *error: Any) -> None:
        self._close()
        finish(self._exits.__aexit__(*error))

    async def __aenter__(self) -> Self:
        return self._open(is_async=True)

    async def __aexit__(self, *error: Any) -> None:
        self._close()
        await self._exits.__aexit__(*error)

    @overload
    def get(self, key: type[T]) -> T: ...
    @overload
    def get(self, key: Any) -> Any: ...
    def get(self, key: Any) -> Any:
        """The instance of a type in this job. Raises InjectionError, and whatever a factory raises."""
        self._expect(is_async=False)
        return finish(self._get(wanted(key)))

    @overload
    async def aget(self, key: type[T]) -> T: ...
    @overload
    async def aget(self, key: Any) -> Any: ...
    async def aget(self, key: Any) -> Any:
        """`get` in an async job."""
        self._expect(is_async=True)
        return await self._get(wanted(key))

    def call(self, function: Callable[..., R], /, **given: Any) -> R:
        """Call a function with the given arguments and the others injected by type.

        Raises InjectionError, and whatever a factory or the function raises.
        """
        self._expect(is_async=False)
        positional, named = finish(self._arguments(function, given, function))
        return function(*positional, **named)

    @overload
    async def acall(self, function: Callable[..., Awaitable[R]], /, **given: Any) -> R: ...
    @overload
    async def acall(self, function: Callable[..., R], /, **given: Any) -> R: ...
    async def acall(self, function: Callable[..., Any], /, **given: Any) -> Any:
        """`call` in an async job, for async and sync functions."""
        self._expect(is_async=True)
        positional, named = await self._arguments(function, given, function)
        result = function(*positional, **named)
        return await result if inspect.isawaitable(result) else result

    def _open(self, is_async: bool) -> Self:
        self._is_async = is_async
        self._services = _Services(self._bindings.registry)
        self._services.scope = self
        return self

    def _close(self) -> None:
        self._is_async = None
        del self._services  # which holds this scope

    def _expect(self, is_async: bool) -> None:
        if self._is_async is not is_async:
            a = "async " if is_async else ""
            raise InjectionError(
                f"This scope is not open for {a or 'sync '}code: `{a}with container.scope() as scope:`."
            )

    async def _arguments(
        self, function: Callable[..., Any], given: Mapping[str, Any], making: Any
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the call: the given ones, and the rest by type."""
        positional: list[Any] = []
        named = dict(given)
        self._making.append(making)
        try:
            for parameter in parameters_of(function):
                if parameter.name not in named:
                    named[parameter.name] = await self._fill(parameter, function)
                if parameter.positional_only:
                    positional.append(named.pop(parameter.name))
        finally:
            self._making.pop()
        return positional, named

    async def _fill(self, parameter: Parameter, function: Callable[..., Any]) -> Any:
        found = await self._find(parameter.wanted)
        if found is not NOTHING:
            return found
        if parameter.default is not REQUIRED:
            # Before autowiring: its author chose it (Illuminate/Container/Container.php: resolveClass()).
            return parameter.default
        asked, why = parameter.wanted.type, parameter.problem
        if why is None and not refusals.can_be_built(asked):
            why = refusals.nothing_bound(asked, function)
        if why is not None:
            raise refusals.cannot_fill(parameter.name, function, self._making[-2::-1], why)
        return await self._autowired(asked)

    async def _get(self, asked: Wanted) -> Any:
        found = await self._find(asked)
        if found is not NOTHING:
            return found
        if not refusals.can_be_built(asked.type):
            raise refusals.cannot_make(asked.type)
        return await self._autowired(asked.type)

    async def _find(self, asked: Wanted) -> Any:
        for key in asked.keys:
            if key in self._extras:
                return self._extras[key]
            if recipe := self._bindings.recipes.get(key):
                return await self._bound(recipe)
            if self._singleton is None and (found := await self._ask_resolvers(key)) is not NOTHING:
                return found
        return NOTHING

    async def _ask_resolvers(self, key: Any) -> Any:
        for resolver in self._bindings.resolvers:
            if id(resolver) not in self._plugged:
                self._plugged[id(resolver)] = await self._plug_in(resolver)
            if (ask := self._plugged[id(resolver)]) and (found := await ask(key)) is not NOTHING:
                return found
        return NOTHING

    async def _plug_in(self, resolver: Resolver) -> Callable[[Any], Awaitable[Any]] | None:
        manager = resolver.open(self._extras)
        as_async = bool(self._is_async) and isinstance(manager, AbstractAsyncContextManager)
        if not as_async and not isinstance(manager, AbstractContextManager):
            return None
        entered = await self._enter(manager)

        async def ask(key: Any) -> Any:
            found = resolver.ask(entered, key, NOTHING, as_async)
            return await found if as_async else found

        return ask

    async def _bound(self, recipe: Recipe) -> Any:
        if recipe.is_value:
            return recipe.source
        if recipe.lifetime == "job" and self._singleton is not None:
            raise refusals.lives_for_one_job(recipe.key, self._singleton)
        return await self._kept(recipe, recipe.lifetime == "singleton")

    async def _autowired(self, cls: Any) -> Any:
        # Apart from what is bound, for that comes before resolvers and defaults.
        return await self._kept(self._bindings.recipes.setdefault(("autowired", cls), Recipe(cls, cls)))

    async def _kept(self, recipe: Recipe, is_singleton: bool = False) -> Any:
        """The instance that svcs keeps for this job."""
        service: Any = recipe  # binding a type again creates a new service, so that the old one is not reused
        if service not in self._bindings.registry:
            make = Scope._shared if is_singleton else Scope._make
            self._bindings.registry.register_factory(
                service, lambda svcs_container: make(svcs_container.scope, recipe), enter=False
            )
        return await self._services.aget(service)

    async def _shared(self, recipe: Recipe) -> Any:
        """The instance of a singleton, created in a separate scope without the job's objects."""
        loop = asyncio.get_running_loop() if self._is_async else None
        found, of_loop = self._bindings.singletons.find(recipe, loop)
        if found is NOTHING:
            async with self._bindings.singletons.alone(loop is not None):
                found, of_loop = self._bindings.singletons.find(recipe, loop)
                if found is NOTHING:
                    scope = Scope(self._bindings, {})._open(loop is not None)
                    scope._singleton, scope._making = recipe.key, self._making
                    async with scope._exits:  # exited at once on failure
                        found = await scope._make(recipe)
                        exits, of_loop = scope._exits.pop_all(), scope._loop_bound
                    self._bindings.singletons.keep(recipe, found, exits, loop if of_loop else None)
        # An object with a loop-bound part is loop-bound itself.
        self._loop_bound |= of_loop
        return found

    async def _make(self, recipe: Recipe) -> Any:
        source = recipe.source
        if recipe.key in self._making:
            raise refusals.cycle([*self._making[self._making.index(recipe.key) :], recipe.key])
        if recipe.is_class and source != recipe.key:
            self._making.append(recipe.key)
            try:
                return await self._get(wanted(source))
            finally:
                self._making.pop()
        positional, named = await self._arguments(get_origin(source) or source, {}, recipe.key)
        product = source(*positional, **named)
        if recipe.is_class:
            return product  # not entered: its users may do that themselves
        if inspect.iscoroutine(product) and not self._is_async:
            product.close()
            raise refusals.async_only(recipe.key, source)
        manager = _manager(product, recipe.enter)
        if manager is None and self._is_async and inspect.isawaitable(product):
            self._loop_bound = True
            product = await product
            manager = _manager(product, recipe.enter)
        if manager is None:
            return product
        if not self._is_async and not isinstance(manager, AbstractContextManager):
            raise refusals.async_only(recipe.key, source)
        return await self._enter(manager)

    async def _enter(self, manager: Any) -> Any:
        """Enter a context manager and return its value. It gets the job's exception but cannot suppress it: a forgotten
        `raise` in a factory must not turn a failed job into a finished one."""
        if self._is_async and isinstance(manager, AbstractAsyncContextManager):
            self._loop_bound = True
            value = await manager.__aenter__()

            async def aleave(*error: Any) -> None:
                await manager.__aexit__(*error)

            self._exits.push_async_exit(aleave)
        else:
            value = manager.__enter__()

            def leave(*error: Any) -> None:
                manager.__exit__(*error)

            self._exits.push(leave)
        return value


def _manager(product: Any, enter: bool) -> Any:
    """The context manager of a factory's result; a generator that yields once is one as well."""
    if inspect.isgenerator(product):
        return contextmanager(lambda: product)()
    if inspect.isasyncgen(product):
        return asynccontextmanager(lambda: product)()
    return product if enter and isinstance(product, AbstractContextManager | AbstractAsyncContextManager) else None
