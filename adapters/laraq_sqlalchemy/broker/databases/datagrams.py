"""Datagrams: producers wake the workers of one host through sockets next to the database file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from uuid import uuid4

#: The kernel refuses longer socket paths (108 bytes with the closing NUL on Linux, 104 elsewhere).
_PATH_LIMIT = 103
_NAME_LENGTH = 13

#: Longer than the resolution of any file system's clock, in nanoseconds.
_TICK_NS = 1_000_000_000

#: A mailbox that held this many hints may have refused more.
_NEARLY_FULL = 8


def mailboxes(database: str) -> Path:
    """The directory that holds one socket per listening worker."""
    beside = Path(f"{os.path.realpath(database)}-wake")
    if len(os.fsencode(beside)) + 1 + _NAME_LENGTH <= _PATH_LIMIT:
        return beside
    # Not `tempfile.gettempdir()`: TMPDIR may be as long, and differ between a producer and its workers.
    digest = hashlib.sha256(os.fsencode(beside)).hexdigest()[:20]
    return Path("/tmp") / f"laraq-{digest}"  # noqa: S108 - nothing secret is in it, and the name is no secret either


class DatagramListener:
    """A worker's mailbox."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o770, exist_ok=True)
        self._path = directory / uuid4().hex[:_NAME_LENGTH]
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> Collection[str] | None:
        queues: set[str] = set()
        read = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                queues.update(self._socket.recv(65536).decode(errors="replace").split("\n"))
                read += 1
        return queues if read < _NEARLY_FULL else None

    def close(self) -> None:
        self._socket.close()
        if self._pid == os.getpid():
            self._path.unlink(missing_ok=True)


class DatagramSender:
    """A producer's view of the mailboxes; the directory is read again only when it changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen = -1
        self._paths: list[str] = []
        self._socket: socket.socket | None = None

    def send(self, queues: Iterable[str]) -> None:
        """Wake every listener. A full mailbox is fine, as its owner has not read it yet; a dead one is removed."""
        try:
            changed = os.stat(self._directory).st_mtime_ns
        except OSError:  # there was never a listener
            return
        if changed != self._seen:
            self._paths = [entry.path for entry in os.scandir(self._directory)]
            # File times change every few milliseconds, so another mailbox may still get this same time.
            settled = time.time_ns() - changed > _TICK_NS
            self._seen = changed if settled else -1
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        letter = "\n".join(queues).encode()[:60000]
        for path in self._paths:
            try:
                self._socket.sendto(letter, path)
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            except OSError:
                continue

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
