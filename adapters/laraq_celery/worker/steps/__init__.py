"""The bootsteps that laraq adds to a Celery worker, one file each."""

from laraq_celery.worker.steps.install import install

__all__ = ["install"]
