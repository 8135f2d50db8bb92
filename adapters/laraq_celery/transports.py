"""laraq's own brokers, made known to kombu: `laraq-db+<SQLAlchemy URL>`, `laraq-redis://` and its kin.

kombu has no entry points for transports; its table of aliases takes names of classes, which are imported when a
connection needs them. laraq's adapters say theirs in the entry-point group `laraq.transports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from laraq.process.plugins import plugins


def register() -> None:
    """Add the aliases; it may be called as often as anybody likes."""
    for entry in plugins("laraq.transports"):
        TRANSPORT_ALIASES[entry.name] = entry.value


def lease_options(url: str, options: Mapping[str, Any], said: float | None, default: float | None) -> dict[str, Any]:
    """The transport options of a worker on the broker at `url`, with the seconds a job may stay without a sign of life.

    What the connection `said` comes first, then `options`, then laraq's setting; there None is for ever. Other brokers
    than ours have no use for it: they lease with options of their own, if at all.
    """
    if not url.startswith("laraq-"):
        return dict(options)
    seconds = options.get("retry_after", default) if said is None else said
    return {**options, "retry_after": seconds}


def lease_of(connection: Any) -> float | None:
    """What a connection says of its leases; None when it says nothing."""
    if not isinstance(connection, Mapping) or "retry_after" not in connection:
        return None
    from laraq_kombu import lease_seconds  # late: every `celery` command imports this file

    return lease_seconds(connection["retry_after"])
