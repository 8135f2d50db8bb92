"""Processes that die at a chosen step, and the workers that take over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.line import Line

STORE_STEPS = ("create", "add", "end_load", "settle", "cancel", "mark", "delete", "find")


class Died(SystemExit):
    """The process is gone, as after kill -9: nothing of it goes on."""


@dataclass
class Fate:
    """Lets the process die at one of its steps to the store and the broker, before or after it."""

    die_at: int
    after: bool
    steps: int = 0
    armed: bool = False
    dead: bool = False

    def over(self, thing: Any, *names: str) -> None:
        for name in names:
            setattr(thing, name, self._mortal(getattr(thing, name)))

    def _mortal(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Died  # what a dying process would still do in its `except` blocks
            self.steps += self.armed
            dies = self.armed and self.steps == self.die_at
            if dies and not self.after:
                self.dead = True
                raise Died
            answer = step(*args, **kwargs)
            if dies:
                self.dead = True
                raise Died
            return answer

        return call


def fated(line: Line, die_at: int, after: bool, *, at_once: bool = False) -> Fate:
    """`at_once`: the batch itself is the note of a success, so that who dies before it is told has died in its run."""
    line.laraq.batches.store.settles_at_once = at_once
    fate = Fate(die_at, after)
    fate.over(line.laraq.batches.store, *STORE_STEPS)
    fate.over(line, "push")
    return fate


def work_through(line: Line, fate: Fate) -> None:
    """Workers take what waits; when one dies, its message is delivered again."""
    while line.waiting:
        payload, _ = line.waiting.pop(0)
        fate.armed = not payload.event
        try:
            line.run(payload)
        except Died:
            fate.dead = fate.armed = False
            line.run(payload, redelivered=True)
    fate.armed = False
