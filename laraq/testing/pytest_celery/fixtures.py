"""Fixtures in the places of pytest-celery's of the same names, and one for clusters of several workers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_celery import CeleryTestWorker, CeleryWorkerContainer

from laraq.testing.pytest_celery.files import LaraqBackend, LaraqBroker
from laraq.testing.pytest_celery.process import LocalContainer
from laraq.testing.pytest_celery.redis import LaraqRedisBroker
from laraq.testing.pytest_celery.setup import LaraqSetup
from laraq.testing.pytest_celery.worker import LaraqWorker, LaraqWorkerContainer


@pytest.fixture
def celery_broker(tmp_path_factory: pytest.TempPathFactory) -> LaraqBroker:
    """One kind of broker: laraq's, in a file."""
    return LaraqBroker.in_folder(tmp_path_factory.mktemp("laraq-broker"))


@pytest.fixture
def laraq_redis_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaraqRedisBroker]:
    """To be given by a `celery_broker` of your own: laraq's Redis broker, on a server for this test. Without a
    `redis-server` the test is skipped."""
    if shutil.which("redis-server") is None:
        pytest.skip("There is no redis-server.")
    broker = LaraqRedisBroker.in_folder(tmp_path_factory.mktemp("laraq-redis"))
    broker.ready()
    yield broker
    broker.teardown()


@pytest.fixture
def celery_backend(tmp_path_factory: pytest.TempPathFactory) -> LaraqBackend:
    """One kind of result backend: files."""
    return LaraqBackend.in_folder(tmp_path_factory.mktemp("laraq-results"))


@pytest.fixture
def celery_setup_cls() -> type[LaraqSetup]:
    """A setup whose app has laraq attached."""
    return LaraqSetup


@pytest.fixture
def celery_setup_app(
    celery_setup_cls: type[LaraqSetup], celery_setup_config: dict[str, Any], celery_setup_name: str
) -> Iterator[Any]:
    """The app of the test; its laraq is the current one until the test ends."""
    app = celery_setup_cls.create_setup_app(celery_setup_config, celery_setup_name)
    with app.laraq as laraq:
        laraq.store.migrate()
        laraq.host.migrate()
        yield app


@pytest.fixture
def default_worker_cls() -> type[CeleryTestWorker]:
    """The node of a worker."""
    return LaraqWorker


@pytest.fixture
def default_worker_container_cls() -> type[CeleryWorkerContainer]:
    """What a worker runs in."""
    return LaraqWorkerContainer


@pytest.fixture(scope="session")
def default_worker_container_session_cls() -> type[CeleryWorkerContainer]:
    """What a worker runs in."""
    return LaraqWorkerContainer


@pytest.fixture
def start_laraq_worker(
    tmp_path_factory: pytest.TempPathFactory,
    default_worker_container_cls: type[LaraqWorkerContainer],
    default_worker_command: list[str],
    default_worker_env: dict[str, str],
    default_worker_initial_content: dict[str, bytes],
) -> Iterator[Callable[[], LaraqWorkerContainer]]:
    """Starts one more worker, as a local process. Its log is shown where the test fails."""
    started: list[LaraqWorkerContainer] = []

    def start() -> LaraqWorkerContainer:
        folder = tmp_path_factory.mktemp("laraq-worker")
        local = LocalContainer(folder, default_worker_command, default_worker_env, default_worker_initial_content)
        started.append(default_worker_container_cls(local))
        started[-1].ready()
        return started[-1]

    yield start
    for container in started:
        container.teardown()
        print(f"--- log of {container.name}\n{container.logs()}--- end of log")


@pytest.fixture
def default_worker_container(start_laraq_worker: Callable[[], LaraqWorkerContainer]) -> LaraqWorkerContainer:
    """The first worker."""
    return start_laraq_worker()
