"""PrivateRedis: a Redis server of one test, which may stop it, restart it and configure it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import pytest
import redis

from tests.support.waiting import wait_until

#: `valkey-server`, say: what the tests start that need a server for themselves.
SERVER_PROGRAM = os.environ.get("LARAQ_TEST_REDIS_SERVER", "redis-server")


class PrivateRedis:
    """`with PrivateRedis(folder, "--cluster-enabled", "yes") as server:`; it saves nothing between two starts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_path = folder / "redis.sock"

    def start(self) -> None:
        command = shutil.which(SERVER_PROGRAM)
        if command is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{SERVER_PROGRAM} is not installed", pytrace=False)
            pytest.skip(f"{SERVER_PROGRAM} is not installed")
        self._process = subprocess.Popen(
            [
                *(command, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket_path)),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder), *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(self._answers, message="the private Redis answers")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> PrivateRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
