"""laraq in the clusters of pytest-celery 1.x: `pytest_plugins = ["laraq.testing.pytest_celery"]`.

Its fixtures take the places of pytest-celery's, so that `celery_setup` is an app with laraq attached, and its nodes run
as local processes and files: no Docker engine is needed.
"""

from laraq.testing.pytest_celery.files import FileContainer, LaraqBackend, LaraqBroker
from laraq.testing.pytest_celery.fixtures import (
    celery_backend,
    celery_broker,
    celery_setup_app,
    celery_setup_cls,
    default_worker_cls,
    default_worker_container,
    default_worker_container_cls,
    default_worker_container_session_cls,
    laraq_redis_broker,
    start_laraq_worker,
)
from laraq.testing.pytest_celery.process import LocalContainer
from laraq.testing.pytest_celery.redis import LaraqRedisBroker, RedisProcess
from laraq.testing.pytest_celery.setup import LaraqSetup
from laraq.testing.pytest_celery.worker import LaraqWorker, LaraqWorkerContainer

__all__ = [
    "FileContainer",
    "LaraqBackend",
    "LaraqBroker",
    "LaraqRedisBroker",
    "LaraqSetup",
    "LaraqWorker",
    "LaraqWorkerContainer",
    "LocalContainer",
    "RedisProcess",
    "celery_backend",
    "celery_broker",
    "celery_setup_app",
    "celery_setup_cls",
    "default_worker_cls",
    "default_worker_container",
    "default_worker_container_cls",
    "default_worker_container_session_cls",
    "laraq_redis_broker",
    "start_laraq_worker",
]
