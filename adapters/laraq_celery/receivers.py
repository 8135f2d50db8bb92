"""while_alive(): receivers of Celery's signals, which are process-wide and would keep an app alive for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def while_alive(app: Any, signal: Any, receiver: Callable[..., Any], sender: Any = None) -> None:
    """Connect the receiver for as long as the app lives, which holds it; the signal does not."""
    vars(app).setdefault("laraq_receivers", []).append(receiver)
    signal.connect(receiver, sender=sender)
