from __future__ import annotations

from pathlib import Path

import pytest

from tests.redis.broker.project import RedisProject


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> RedisProject:
    return RedisProject(tmp_path, redis_url)
