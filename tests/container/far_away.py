"""A dataclass whose constructor has an annotation that was written, and can only be read, in another module."""

from __future__ import annotations

from dataclasses import dataclass

from tests.container.shop import Order, Repo


@dataclass
class FarAway(Repo[Order]):
    name: str = "far"
