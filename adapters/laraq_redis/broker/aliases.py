"""register(): registers `laraq-redis://` URLs with kombu."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

#: Names and classes, the same as in pyproject.toml.
ALIASES = {
    "laraq-redis": "laraq_redis.broker.transport:Transport",
    "laraq-rediss": "laraq_redis.broker.transport:TlsTransport",
    "laraq-sentinel": "laraq_redis.broker.transport:SentinelTransport",
}


def register() -> None:
    """Add the aliases to kombu's table, before the first Connection to such a URL; may be called repeatedly."""
    TRANSPORT_ALIASES.update(ALIASES)
