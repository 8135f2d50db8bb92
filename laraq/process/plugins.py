"""plugins(): what installed packages provide to laraq by entry points; laraq's own parts are found in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, distributions


def plugins(group: str) -> Sequence[EntryPoint]:
    """The entry points of a laraq group; of two with the same name, the one of the package found first."""
    return list(_all().get(group, {}).values())


@cache
def _all() -> dict[str, dict[str, EntryPoint]]:
    """The entry points of all groups, read once: this opens a file of every installed package."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for distribution in distributions():
        for entry in distribution.entry_points:
            if entry.group.startswith("laraq."):
                found.setdefault(entry.group, {}).setdefault(entry.name, entry)
    return found
