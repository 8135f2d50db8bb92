"""Singletons: the instances that are kept between jobs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from laraq.container import refusals
from laraq.container.bindings import Binding, Bindings
from laraq.container.gate import Gate
from laraq.container.maker import NOTHING, Maker, Resolution


@dataclass(slots=True)
class _LoopBound:
    """What belongs to one event loop: clients and pools opened in it are of no use in another."""

    instances: dict[Any, Any] = field(default_factory=dict)
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)


class Singletons(Maker):
    """One instance per process; of what async factories make, and of what is made of it, one per event loop.

    A singleton is made of singletons and of autowired classes, never of what lives for one job. A child of a fork makes
    its own and leaves those of its parent alone.
    """

    __slots__ = ("__weakref__", "_exit_stack", "_gate", "_inherited", "_loops")

    def __init__(self, bindings: Bindings) -> None:
        super().__init__(bindings)
        self._exit_stack = ExitStack()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopBound] = {}
        self._gate = Gate()
        self._inherited: list[Any] = []
        _every.add(self)

    async def obtain(self, binding: Binding, resolution: Resolution) -> Any:
        """The instance, made the first time it is asked for, by one thread or task alone."""
        if (kept := self._kept(binding, resolution)) is not NOTHING:
            return kept
        async with self._gate.turn(resolution.is_async):
            return await self._bound(binding, resolution)

    def close(self) -> None:
        """Leave what was entered for the process, in reverse order; what is asked for later is made anew."""
        self._instances.clear()
        self._exit_stack.close()

    async def aclose(self) -> None:
        """The same, and before that for the running event loop."""
        bound = self._loops.pop(asyncio.get_running_loop(), None)
        try:
            if bound is not None:
                await bound.exits.aclose()
        finally:
            self.close()

    def start_anew(self) -> None:
        """Forget everything without leaving it: the parent of this process still uses it."""
        # Kept, because a generator that is collected runs its `finally` and would close the parent's connection.
        self._inherited.append((self._instances, self._exit_stack, self._loops))
        self._instances, self._exit_stack, self._loops = {}, ExitStack(), {}
        self._gate = Gate()

    async def _offered(self, key: Any, resolution: Resolution) -> Any:
        binding = self._bindings.by_key.get(key)
        if binding is None:
            return NOTHING
        if binding.is_value:
            return binding.source
        if binding.lifetime != "singleton":
            raise refusals.lives_for_one_job(key, self._singleton_in(resolution.making))
        return await self._bound(binding, resolution)

    def _singleton_in(self, making: list[Any]) -> Any:
        """The innermost singleton under construction."""
        by_key = self._bindings.by_key
        return next(key for key in reversed(making) if key in by_key and by_key[key].lifetime == "singleton")

    async def _once(
        self, slot: Any, key: Any, make: Callable[[], Coroutine[Any, Any, Any]], resolution: Resolution
    ) -> Any:
        around, resolution.loop_bound = resolution.loop_bound, False
        try:
            return await super()._once(slot, key, make, resolution)
        finally:
            # What is made of something loop-bound is loop-bound itself.
            resolution.loop_bound |= around

    def _kept(self, slot: Any, resolution: Resolution) -> Any:
        if slot in self._instances:
            return self._instances[slot]
        if resolution.is_async and (bound := self._loops.get(asyncio.get_running_loop())) and slot in bound.instances:
            resolution.loop_bound = True
            return bound.instances[slot]
        return NOTHING

    def _keep(self, slot: Any, made: Any, resolution: Resolution) -> None:
        (self._of_loop().instances if resolution.loop_bound else self._instances)[slot] = made

    def _exits(self, resolution: Resolution) -> ExitStack | AsyncExitStack:
        return self._of_loop().exits if resolution.loop_bound else self._exit_stack

    def _of_loop(self) -> _LoopBound:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            # Nothing can be left any more in a loop that is closed.
            self._loops = {other: bound for other, bound in self._loops.items() if not other.is_closed()}
            self._loops[loop] = _LoopBound()
        return self._loops[loop]


_every: WeakSet[Singletons] = WeakSet()


def _start_anew() -> None:
    for singletons in list(_every):
        singletons.start_anew()


os.register_at_fork(after_in_child=_start_anew)
