"""Conditionable: `when` and `unless` for what is put together call by call.

(Illuminate/Support/Traits/Conditionable.php)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Conditionable:
    """Calls on a condition, without leaving the chain of calls."""

    def when(self, condition: object, then: Callable[[Self], object]) -> Self:
        """Apply `then` if the condition holds."""
        if condition:
            then(self)
        return self

    def unless(self, condition: object, then: Callable[[Self], object]) -> Self:
        """Apply `then` unless the condition holds."""
        return self.when(not condition, then)
