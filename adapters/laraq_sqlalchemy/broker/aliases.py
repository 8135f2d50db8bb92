"""register(): registers `laraq-db+...` URLs with kombu."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

#: The part of the URL before the first `+`.
ALIAS = "laraq-db"


def register() -> None:
    """Add the alias to kombu's table, before the first Connection to such a URL; may be called repeatedly."""
    TRANSPORT_ALIASES[ALIAS] = "laraq_sqlalchemy.broker.transport:Transport"
