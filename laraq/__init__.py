"""laraq: Laravel's queue for Python, on the Celery that people already run."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq import verdicts
    from laraq.app import Laraq
    from laraq.container import Container, Injected, injected
    from laraq.context import Context
    from laraq.current import current
    from laraq.events import Events
    from laraq.facades import Bus, Failed, Queue, dispatch
    from laraq.jobs.closures import closure
    from laraq.jobs.dispatched import Dispatched
    from laraq.jobs.fields.codec import WithoutRelations
    from laraq.jobs.function import job
    from laraq.jobs.job import Job, current_job
    from laraq.jobs.registered import register
    from laraq.limits.limiters import funnel, throttle
    from laraq.limits.limits import Limit, RateLimiter
    from laraq.limits.locks import lock
    from laraq.local.queues import deferring
    from laraq.messages.backoff import Backoff
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
    from laraq.workflow.batch import Batch

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

#: Where each name is defined. Its file is imported on first use, because every `celery` command imports this package
#: as a plugin.
_PLACES = {
    "laraq.app": ("Laraq",),
    "laraq.workflow.batch": ("Batch",),
    "laraq.jobs.closures": ("closure",),
    "laraq.jobs.fields.codec": ("WithoutRelations",),
    "laraq.container": ("Container", "Injected", "injected"),
    "laraq.context": ("Context",),
    "laraq.current": ("current",),
    "laraq.jobs.dispatched": ("Dispatched",),
    "laraq.events": ("Events",),
    "laraq.facades": ("Bus", "Failed", "Queue", "dispatch"),
    "laraq.jobs.function": ("job",),
    "laraq.jobs.job": ("Job", "current_job"),
    "laraq.limits.limiters": ("funnel", "throttle"),
    "laraq.limits.limits": ("Limit", "RateLimiter"),
    "laraq.local.queues": ("deferring",),
    "laraq.limits.locks": ("lock",),
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
    "laraq.jobs.registered": ("register",),
    "laraq.messages.backoff": ("Backoff",),
    "laraq_celery": ("LaraqTask",),
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names}


class _Package(ModuleType):
    """`laraq.current` is a function, whether or not the module of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _PLACE):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
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
    """Register laraq's additions with libraries that are already imported: its transports with kombu."""
    from laraq.process.plugins import plugins

    for entry in plugins("laraq.vendors"):
        if entry.name in sys.modules:
            entry.load()()


_complete_vendors()
