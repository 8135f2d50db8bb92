"""while_alive(): connects receivers to Celery's process-wide signals without keeping the app alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def while_alive(app: Any, signal: Any, receiver: Callable[..., Any], sender: Any = None) -> None:
    """Connect the receiver as long as the app lives: the app holds it, the signal does not."""
    vars(app).setdefault("laraq_receivers", []).append(receiver)
    signal.connect(receiver, sender=sender)
