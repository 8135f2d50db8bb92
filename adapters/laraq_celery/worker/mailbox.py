"""mailbox(): where a worker hears remote control commands."""

from __future__ import annotations

from typing import Any


def mailbox(consumer: Any) -> Any:
    """The consumer's mailbox (celery.worker.pidbox: Pidbox); None without remote control."""
    return next((step.box for step in getattr(consumer, "steps", ()) if hasattr(step, "box")), None)
