"""register(): makes kombu know `laraq-redis://` URLs."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

#: Names and classes, as pyproject.toml says them too.
ALIASES = {
    "laraq-redis": "laraq_redis.broker.transport:Transport",
    "laraq-rediss": "laraq_redis.broker.transport:TlsTransport",
    "laraq-sentinel": "laraq_redis.broker.transport:SentinelTransport",
}


def register() -> None:
    """Add the aliases to kombu's table; call it before the first Connection to such a URL, as often as you like."""
    TRANSPORT_ALIASES.update(ALIASES)
