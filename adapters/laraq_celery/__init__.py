"""Celery as the carrier of laraq's jobs."""

from laraq_celery.host import CeleryHost
from laraq_celery.ordinary import LaraqTask
from laraq_celery.task import JobTask

__all__ = ["CeleryHost", "JobTask", "LaraqTask"]
