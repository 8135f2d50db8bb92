"""Program: a Python program started by a fork of a process that has imported the libraries (`fork_server.py`).

With LARAQ_TEST_EXEC=1, in its own environment or in that of the tests, it is started from nothing, as a user does.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.support.fork_server import Request

BIN = Path(sys.executable).parent


class Process(Protocol):
    """What `subprocess.Popen` and `Program` have in common."""

    pid: int

    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


class Program:
    """A child of the fork server. Raises subprocess.TimeoutExpired like Popen."""

    def __init__(
        self, argv: Sequence[str], folder: Path, env: Mapping[str, str], stdout: int, stderr: int, new_session: bool
    ) -> None:
        self._argv = list(argv)
        self._status: int | None = None
        self._control, theirs = socket.socketpair()
        request = pickle.dumps(Request(self._argv, str(folder), dict(env), new_session))
        with theirs, open(os.devnull) as nothing:
            _server.send(request, [theirs.fileno(), nothing.fileno(), stdout, stderr])
        self.pid = self._receive()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal."""
        if self._status is None:
            if not select.select([self._control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._argv, timeout or 0.0)
            self._status = self._receive()
            self._control.close()
        return self._status

    def send_signal(self, sig: int) -> None:
        """Unless it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def _receive(self) -> int:
        if not (answer := self._control.recv(4)):
            raise RuntimeError(f"The fork server ended before {self._argv[0]}")
        return int.from_bytes(answer, "big", signed=True)


class _Server:
    """The fork server of this process, from the first use on; it ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def send(self, request: bytes, fds: Sequence[int]) -> None:
        with self._lock:
            if self._socket is None:
                self._socket = self._start()
            socket.send_fds(self._socket, [len(request).to_bytes(4, "big")], fds)
            self._socket.sendall(request)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        atexit.register(self._end, os.getpid(), ours, server)
        return ours

    @staticmethod
    def _end(pid: int, ours: socket.socket, server: subprocess.Popen[bytes]) -> None:
        if pid == os.getpid():  # not in a fork of the tests
            ours.close()
            server.wait()


_server = _Server()


def _can_watch() -> bool:
    """Whether the fork server can: only Linux has handles of processes, and a sandbox may forbid them."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


CAN_FORK = _can_watch()


def start(
    command: Sequence[str], folder: Path, env: Mapping[str, str], stdout: int, stderr: int, *, new_session: bool = False
) -> Process:
    """Start a command: by fork where it is Python code or one of our scripts."""
    if CAN_FORK and not env.get("LARAQ_TEST_EXEC"):
        if command[:2] == [sys.executable, "-c"]:
            return Program(command[1:], folder, env, stdout, stderr, new_session)
        if Path(command[0]) in (BIN / "celery", BIN / "laraq"):
            return Program(command, folder, env, stdout, stderr, new_session)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=new_session,
    )
