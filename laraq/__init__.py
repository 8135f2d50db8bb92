"""laraq: Laravel's queue for Python, on the Celery that people already run."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq import verdicts
    from laraq.app import Laraq
    from laraq.batch import Batch
    from laraq.closures import closure
    from laraq.codec import WithoutRelations
    from laraq.container import Container, Injected, injected
    from laraq.context import Context
    from laraq.current import current
    from laraq.dispatcher import Dispatched
    from laraq.events import Events
    from laraq.facades import Bus, Failed, Queue, dispatch
    from laraq.function import job
    from laraq.job import Job, current_job
    from laraq.limiters import funnel, throttle
    from laraq.limits import Limit, RateLimiter
    from laraq.local.queues import deferring
    from laraq.locks import lock
    from laraq.middleware import (
        FailOnException,
        RateLimited,
        RateLimitedWithRedis,
        Release,
        Skip,
        SkipIfBatchCancelled,
        ThrottlesExceptions,
        ThrottlesExceptionsWithRedis,
        WithoutOverlapping,
    )
    from laraq.registered import register
    from laraq.retries import Backoff

__all__ = [
    "Backoff",
    "Batch",
    "Bus",
    "Container",
    "Context",
    "Dispatched",
    "Events",
    "FailOnException",
    "Failed",
    "Injected",
    "Job",
    "Laraq",
    "Limit",
    "Queue",
    "RateLimited",
    "RateLimitedWithRedis",
    "RateLimiter",
    "Release",
    "Skip",
    "SkipIfBatchCancelled",
    "ThrottlesExceptions",
    "ThrottlesExceptionsWithRedis",
    "WithoutOverlapping",
    "WithoutRelations",
    "closure",
    "current",
    "current_job",
    "deferring",
    "dispatch",
    "funnel",
    "injected",
    "job",
    "lock",
    "register",
    "throttle",
    "verdicts",
]

#: Where each name is defined: its file is imported when somebody asks for it, for every `celery` command imports this
#: package, as the plugin it is.
_PLACES = {
    "laraq.app": ("Laraq",),
    "laraq.batch": ("Batch",),
    "laraq.closures": ("closure",),
    "laraq.codec": ("WithoutRelations",),
    "laraq.container": ("Container", "Injected", "injected"),
    "laraq.context": ("Context",),
    "laraq.current": ("current",),
    "laraq.dispatcher": ("Dispatched",),
    "laraq.events": ("Events",),
    "laraq.facades": ("Bus", "Failed", "Queue", "dispatch"),
    "laraq.function": ("job",),
    "laraq.job": ("Job", "current_job"),
    "laraq.limiters": ("funnel", "throttle"),
    "laraq.limits": ("Limit", "RateLimiter"),
    "laraq.local.queues": ("deferring",),
    "laraq.locks": ("lock",),
    "laraq.middleware": (
        "FailOnException",
        "RateLimited",
        "RateLimitedWithRedis",
        "Release",
        "Skip",
        "SkipIfBatchCancelled",
        "ThrottlesExceptions",
        "ThrottlesExceptionsWithRedis",
        "WithoutOverlapping",
    ),
    "laraq.registered": ("register",),
    "laraq.retries": ("Backoff",),
    "laraq_celery": ("LaraqTask",),
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names}


class _Package(ModuleType):
    """`laraq.job` and `laraq.current` are functions, whatever modules of these names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _PLACE):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name == "verdicts":
        return import_module("laraq.verdicts")
    if name == "__version__":
        from importlib.metadata import version

        return version("laraq")
    if name not in _PLACE:
        raise AttributeError(f"module 'laraq' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _complete_vendors() -> None:
    """Tell libraries that are imported already what laraq adds to them: kombu, its transports."""
    from laraq.plugins import plugins

    for entry in plugins("laraq.vendors"):
        if entry.name in sys.modules:
            entry.load()()


_complete_vendors()
