"""LaraqRedisBroker: a cluster's broker on a Redis server of its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestBroker, CeleryTestContainer

from laraq.testing.pytest_celery.process import LocalContainer


class RedisProcess(CeleryTestContainer):
    """A local `redis-server`, which has its data again after a restart."""

    ready_prompt = "Ready to accept connections"

    def __init__(self, folder: Path, database: int = 0) -> None:
        """`folder`: where its data is."""
        port = _free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        super().__init__(LocalContainer(folder, [*command, "--save", "", "--appendonly", "yes"], {}, {}))
        self._url = f"laraq-redis://127.0.0.1:{port}/{database}"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """The URL, which is the same for tests and workers."""
        return {"url": self._url, "host_url": self._url}

    def ready(self) -> bool:
        """Wait until it accepts connections."""
        self._container.wait_for(self.ready_prompt)
        return True

    def teardown(self) -> None:
        """Stop it."""
        self._container.stop()


class LaraqRedisBroker(CeleryTestBroker):
    """laraq's Redis broker; laraq's store is in the same database. It can be killed and restarted."""

    @classmethod
    def in_folder(cls, folder: Path) -> LaraqRedisBroker:
        """With its data there, on a free port."""
        return cls(RedisProcess(folder))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
