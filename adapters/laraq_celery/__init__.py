"""Celery as the carrier of laraq's jobs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq_celery.host import CeleryHost
    from laraq_celery.tasks.ordinary import LaraqTask
    from laraq_celery.worker.task import JobTask

__all__ = ["CeleryHost", "JobTask", "LaraqTask"]

_PLACE = {
    "CeleryHost": "laraq_celery.host",
    "JobTask": "laraq_celery.worker.task",
    "LaraqTask": "laraq_celery.tasks.ordinary",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use: every `celery` command imports this package, because it contains the plugin."""
    if name not in _PLACE:
        raise AttributeError(f"module 'laraq_celery' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACE[name]), name)
    return found
