"""register(): makes kombu know `laraq-db+...` URLs."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

#: The part of the URL before the first `+`.
ALIAS = "laraq-db"


def register() -> None:
    """Add the alias to kombu's table; call it before the first Connection to such a URL, as often as you like."""
    TRANSPORT_ALIASES[ALIAS] = "laraq_sqlalchemy.broker.transport:Transport"
