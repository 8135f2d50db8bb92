"""LaraqBroker and LaraqBackend: a cluster's broker in a SQLite file, and its results in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestBackend, CeleryTestBroker, CeleryTestContainer


class FileContainer(CeleryTestContainer):
    """In the place of a server's container: files, which all nodes open themselves."""

    status = "running"
    id = name = "files"

    def __init__(self, url: str) -> None:
        """`url`: as in Celery's configuration."""
        self._url = url

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """The URL, which is the same for tests and workers."""
        return {"url": self._url, "host_url": self._url}

    def ready(self) -> bool:
        """Always."""
        return True

    def logs(self) -> str:
        """Nothing: there is no process."""
        return ""

    def reload(self) -> None:
        """Nothing."""

    def restart(self, timeout: float = 0) -> None:
        """Nothing."""

    def kill(self, signal: Any = None) -> None:
        """Refused: no server can be lost."""
        raise NotImplementedError("Files have no process that could be killed.")


class LaraqBroker(CeleryTestBroker):
    """laraq's database broker, in a SQLite file; laraq's store is in the same one."""

    @classmethod
    def in_folder(cls, folder: Path) -> LaraqBroker:
        """With its file there."""
        return cls(FileContainer(f"laraq-db+sqlite:///{folder / 'laraq.sqlite3'}"))


class LaraqBackend(CeleryTestBackend):
    """Celery's results, one file each."""

    @classmethod
    def in_folder(cls, folder: Path) -> LaraqBackend:
        """With its files there."""
        return cls(FileContainer(folder.as_uri()))
