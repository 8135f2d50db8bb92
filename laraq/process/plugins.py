"""plugins(): what installed packages offer to laraq, by entry points; laraq's own parts are found in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, distributions


def plugins(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group of laraq's; of two with one name that of the package found first."""
    return list(_all().get(group, {}).values())


@cache
def _all() -> dict[str, dict[str, EntryPoint]]:
    """Of all groups at once, and once: a file of every installed package is opened for that."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for distribution in distributions():
        for entry in distribution.entry_points:
            if entry.group.startswith("laraq."):
                found.setdefault(entry.group, {}).setdefault(entry.name, entry)
    return found
