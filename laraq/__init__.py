"""laraq: Laravel's queue for Python, on the Celery that people already run."""

from typing import Any as _Any

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
]


def __getattr__(name: str) -> _Any:
    """What is looked up when somebody asks for it: `laraq.LaraqTask`, Celery's half of laraq, and the version."""
    if name == "LaraqTask":
        from importlib import import_module

        return import_module("laraq_celery").LaraqTask
    if name == "__version__":
        from importlib.metadata import version

        return version("laraq")
    raise AttributeError(f"module 'laraq' has no attribute {name!r}")


def _complete_vendors() -> None:
    """Tell libraries that are imported already what laraq adds to them: kombu, its transports."""
    import sys
    from importlib.metadata import entry_points

    for entry in entry_points(group="laraq.vendors"):
        if entry.name in sys.modules:
            entry.load()()


_complete_vendors()
