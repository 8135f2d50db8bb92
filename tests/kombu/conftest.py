from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kombu.project import BrokerProject
from tests.redis.broker.project import RedisProject
from tests.sqlalchemy.broker.celery_app import DatabaseProject

OpenProject = Callable[..., BrokerProject]


def _opener(request: pytest.FixtureRequest, folder: Path) -> OpenProject:
    url: str = request.getfixturevalue(f"{request.param}_url")
    kind: type[BrokerProject] = RedisProject if request.param == "redis" else DatabaseProject
    return lambda **options: kind(folder, url, **options)  # type: ignore[call-arg]


@pytest.fixture(params=["redis", "sqlite"])
def open_project(request: pytest.FixtureRequest, tmp_path: Path) -> OpenProject:
    """Makes a project with transport options, on each kind of broker."""
    return _opener(request, tmp_path)


@pytest.fixture
def project(open_project: OpenProject) -> BrokerProject:
    return open_project()


@pytest.fixture(params=["redis", "sqlite", "postgres", "mariadb"])
def any_project(request: pytest.FixtureRequest, tmp_path: Path) -> BrokerProject:
    """On every broker."""
    return _opener(request, tmp_path)()
