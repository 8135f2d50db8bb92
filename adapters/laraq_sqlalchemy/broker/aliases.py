"""register(): makes kombu know `laraq-db+...` URLs."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES


def register() -> None:
    """Add the alias to kombu's table; call it before the first Connection to such a URL, as often as you like."""
    TRANSPORT_ALIASES["laraq-db"] = "laraq_sqlalchemy.broker.transport:Transport"
