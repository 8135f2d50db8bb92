"""laraq's own brokers, made known to kombu: `laraq-db+<SQLAlchemy URL>`.

kombu has no entry points for transports; its table of aliases takes names of classes, which are imported when a
connection needs them. laraq's adapters say theirs in the entry-point group `laraq.transports`.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from kombu.transport import TRANSPORT_ALIASES


def register() -> None:
    """Add the aliases; it may be called as often as anybody likes."""
    for entry in entry_points(group="laraq.transports"):
        TRANSPORT_ALIASES[entry.name] = entry.value
