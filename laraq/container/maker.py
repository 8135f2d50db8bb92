"""Maker: makes instances of types out of bindings and constructors, and keeps them.

There is one algorithm for sync and async jobs, written as coroutines. In a sync job nothing in them ever waits, so that
`finish` can run them to their end without an event loop.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, get_origin

from laraq.container import refusals, teardown
from laraq.container.bindings import Binding, Bindings
from laraq.container.parameters import REQUIRED, Parameter, Wanted, parameters_of, wanted

T = TypeVar("T")

Arguments: TypeAlias = tuple[list[Any], dict[str, Any]]


class _Nothing:
    """Stands for an instance that is not there, where None is one."""


NOTHING: Final = _Nothing()


@dataclass(slots=True)
class Resolution:
    """One request to a scope, with everything that is made on its way."""

    is_async: bool
    #: The function whose parameters are filled, None when a type was asked for directly.
    asked_by: Callable[..., Any] | None = None
    #: Types under construction, outermost first.
    making: list[Any] = field(default_factory=list)
    #: Whether what is being made holds something that belongs to the running event loop.
    loop_bound: bool = False

    def needed_by(self, function: Callable[..., Any]) -> list[Any]:
        """The way from what is under construction back to the job, for messages."""
        if function is self.asked_by:
            return []
        return [*reversed(self.making[:-1]), *([] if self.asked_by is None else [self.asked_by])]


def finish(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
    raise RuntimeError("A sync job waited for an event loop while its parameters were made.")


class Maker(ABC):
    """What a scope and the singletons have in common: one instance per binding and per autowired class."""

    __slots__ = ("_bindings", "_instances")

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings
        #: By binding, or by class when it was autowired.
        self._instances: dict[Any, Any] = {}

    @abstractmethod
    async def _offered(self, key: Any, resolution: Resolution) -> Any:
        """The instance bound to exactly this key, or NOTHING."""

    @abstractmethod
    def _exits(self, resolution: Resolution) -> ExitStack | AsyncExitStack:
        """What leaves the context managers that are entered now; an AsyncExitStack in an async scope."""

    async def _arguments(
        self, function: Callable[..., Any], given: Mapping[str, Any], resolution: Resolution
    ) -> Arguments:
        """The arguments to call it with: those given, and the rest by type."""
        positional: list[Any] = []
        named = dict(given)
        for parameter in parameters_of(function):
            if parameter.name in named:
                if parameter.positional_only:
                    positional.append(named.pop(parameter.name))
                continue
            value = await self._fill(parameter, function, resolution)
            if parameter.positional_only:
                positional.append(value)
            else:
                named[parameter.name] = value
        return positional, named

    async def _fill(self, parameter: Parameter, function: Callable[..., Any], resolution: Resolution) -> Any:
        found = await self._find(parameter.wanted, resolution)
        if found is not NOTHING:
            return found
        if parameter.default is not REQUIRED:
            # Before autowiring: its author chose it (Illuminate/Container/Container.php: resolveClass()).
            return parameter.default
        if parameter.problem is not None:
            raise refusals.cannot_fill(parameter.name, function, resolution.needed_by(function), parameter.problem)
        asked = parameter.wanted.type
        if not refusals.can_be_built(asked):
            why = refusals.nothing_bound(asked, function)
            raise refusals.cannot_fill(parameter.name, function, resolution.needed_by(function), why)
        return await self._autowired(asked, resolution)

    async def _get(self, asked: Wanted, resolution: Resolution) -> Any:
        found = await self._find(asked, resolution)
        if found is not NOTHING:
            return found
        if not refusals.can_be_built(asked.type):
            raise refusals.cannot_make(asked.type)
        return await self._autowired(asked.type, resolution)

    async def _find(self, asked: Wanted, resolution: Resolution) -> Any:
        for key in asked.keys:
            found = await self._offered(key, resolution)
            if found is not NOTHING:
                return found
        return NOTHING

    async def _autowired(self, cls: Any, resolution: Resolution) -> Any:
        return await self._once(cls, cls, lambda: self._build(cls, resolution), resolution)

    async def _bound(self, binding: Binding, resolution: Resolution) -> Any:
        return await self._once(binding, binding.key, lambda: self._make(binding, resolution), resolution)

    async def _once(
        self, slot: Any, key: Any, make: Callable[[], Coroutine[Any, Any, Any]], resolution: Resolution
    ) -> Any:
        """The instance kept in `slot`, made the first time it is asked for."""
        if (kept := self._kept(slot, resolution)) is not NOTHING:
            return kept
        if key in resolution.making:
            raise refusals.cycle([*resolution.making[resolution.making.index(key) :], key])
        resolution.making.append(key)
        try:
            made = await make()
        finally:
            resolution.making.pop()
        self._keep(slot, made, resolution)
        return made

    def _kept(self, slot: Any, resolution: Resolution) -> Any:
        return self._instances.get(slot, NOTHING)

    def _keep(self, slot: Any, made: Any, resolution: Resolution) -> None:
        self._instances[slot] = made

    async def _build(self, cls: Any, resolution: Resolution) -> Any:
        """An instance of a class; a class is never entered, its users may do that themselves."""
        positional, named = await self._arguments(get_origin(cls) or cls, {}, resolution)
        return cls(*positional, **named)

    async def _make(self, binding: Binding, resolution: Resolution) -> Any:
        source = binding.source
        if binding.is_class:
            if source == binding.key:
                return await self._build(source, resolution)
            return await self._get(wanted(source), resolution)
        positional, named = await self._arguments(source, {}, resolution)
        return await self._open(binding, source(*positional, **named), resolution)

    async def _open(self, binding: Binding, product: Any, resolution: Resolution) -> Any:
        """What a factory returned, awaited and entered as far as it wants to be."""
        if isinstance(product, Coroutine) and not resolution.is_async:
            product.close()
            raise refusals.async_only(binding.key, binding.source)
        manager = _manager(product, binding.enter)
        if manager is None and resolution.is_async and inspect.isawaitable(product):
            resolution.loop_bound = True
            product = await product
            manager = _manager(product, binding.enter)
        if manager is None:
            return product
        if resolution.is_async and isinstance(manager, AbstractAsyncContextManager):
            resolution.loop_bound = True
            exits = self._exits(resolution)
            assert isinstance(exits, AsyncExitStack)
            return await teardown.aenter(exits, manager)
        if isinstance(manager, AbstractContextManager):
            return teardown.enter(self._exits(resolution), manager)
        raise refusals.async_only(binding.key, binding.source)


def _manager(product: Any, enter: bool) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
    """The context manager in what a factory returned; a generator that yields once is one as well."""
    if inspect.isgenerator(product):
        return contextmanager(lambda: product)()
    if inspect.isasyncgen(product):
        return asynccontextmanager(lambda: product)()
    if enter and isinstance(product, AbstractContextManager | AbstractAsyncContextManager):
        return product
    return None
