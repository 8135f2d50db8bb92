"""The bootsteps that laraq adds to a Celery worker, one file each."""

from laraq_celery.worker.steps.install import LOOK_COMMAND, install

__all__ = ["LOOK_COMMAND", "install"]
