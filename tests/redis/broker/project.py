"""The project on the Redis broker, whose workers may be ours or stock ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import redis

from laraq_kombu import QueueCount
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.store import RedisQueues
from tests.kombu.project import BrokerProject

#: The same app, with laraq for its command line.
JOBS = """
    from laraq import Laraq
    from proj import app

    queue = Laraq(app)
"""


class RedisProject(BrokerProject):
    """A project whose broker is a Redis database; `stock` is the environment of a worker or producer without laraq."""

    driver = "laraq-redis"
    unnamed_first = True

    def __init__(self, folder: Path, url: str, *, broker: str | None = None, **options: Any) -> None:
        self.url = url
        self.queues = RedisQueues(redis.Redis.from_url(url), BrokerKeys(options.get("global_keyprefix", "")), 3)
        super().__init__(folder, "laraq_redis.broker", broker or f"laraq-{url}", url, options, jobs=JOBS)

    @property
    def stock(self) -> dict[str, str]:
        """What makes a process of the project use kombu's own transport."""
        return {"BROKER": self.url, "OPTIONS": "{}"}

    def count(self, queue: str = "celery") -> QueueCount:
        return self.queues.count(queue)

    def python_on(self, env: Mapping[str, str], code: str) -> str:
        """Run a script as `python` does, in another environment."""
        done = subprocess.run(
            [sys.executable, "-c", dedent(code)],
            cwd=self.folder,
            env={**self._env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
