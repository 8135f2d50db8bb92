"""Registers laraq's own brokers with kombu: `laraq-db+<SQLAlchemy URL>`, `laraq-redis://` and its variants.

kombu has no entry points for transports; its table of aliases contains names of classes, which are imported when a
connection needs them. laraq's adapters name theirs in the entry-point group `laraq.transports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from laraq.process.plugins import plugins


def register() -> None:
    """Add the aliases; may be called repeatedly."""
    for entry in plugins("laraq.transports"):
        TRANSPORT_ALIASES[entry.name] = entry.value


def lease_options(
    url: str, options: Mapping[str, Any], explicit: float | None, default: float | None
) -> dict[str, Any]:
    """The transport options of a worker on the broker at `url`, with the seconds until a silent job is redelivered.

    `explicit` is the connection's own setting and comes first, then `options`, then laraq's setting, where None is for
    ever. Brokers other than laraq's do not use it: if they lease at all, they have their own options.
    """
    if not url.startswith("laraq-"):
        return dict(options)
    seconds = options.get("retry_after", default) if explicit is None else explicit
    return {**options, "retry_after": seconds}


def lease_of(connection: Any) -> float | None:
    """The lease of a connection in seconds; None when it sets none."""
    if not isinstance(connection, Mapping) or "retry_after" not in connection:
        return None
    from laraq_kombu import lease_seconds  # late: every `celery` command imports this file

    return lease_seconds(connection["retry_after"])
