"""laraq: Laravel's queue for Python, on the Celery that people already run."""

from laraq.app import Laraq
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
from laraq.local.queues import deferring
from laraq.retries import Backoff

__all__ = [
    "Backoff",
    "Bus",
    "Container",
    "Context",
    "Dispatched",
    "Events",
    "Failed",
    "Injected",
    "Job",
    "Laraq",
    "Queue",
    "WithoutRelations",
    "closure",
    "current",
    "current_job",
    "deferring",
    "dispatch",
    "injected",
    "job",
]
